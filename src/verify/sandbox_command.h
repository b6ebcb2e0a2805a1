// How the interpreter is started: the command line of the sandbox.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.h"

namespace setrl::verify {

struct Launch {
  std::vector<std::string> words;  // program and arguments
  std::string filter;              // BPF given as descriptor 4 (bubblewrap reads it), or empty
  std::string folder;              // where programs may write, seen from inside; empty: not checked for remains
};

// Descriptors of the interpreter.
constexpr int kOutputDescriptor = 3;
constexpr int kFilterDescriptor = 4;

// The command that runs `script` by verify.sandbox. Throws UserError where bubblewrap or the interpreter is missing.
Launch make_launch(const VerifySection& verify, const std::string& script);

}  // namespace setrl::verify
