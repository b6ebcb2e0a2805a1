// Anchor of the precompiled headers: CMake makes each with a target of its own (setrl_pch, setrl_torch_pch), the others
// reuse it.
