// System call filters of the sandbox, compiled by libseccomp to what the kernel takes. docs/sandbox.md says what each
// is for. Unknown calls fail with EPERM; nothing is killed, so that a program that tries ends with an exception.
#pragma once

#include <string>

namespace setrl::verify {

// For every process in the sandbox: no ptrace, mounts, namespaces, sockets, keys, kernel modules, io_uring, bpf, ...
std::string outer_filter();

// For the process of one program, on top: no new process, no exec, no signals, no change of another process.
std::string inner_filter();

}  // namespace setrl::verify
