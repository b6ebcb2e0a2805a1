// Anchor of the shared precompiled header: CMake builds the header with this target, the others reuse it.
