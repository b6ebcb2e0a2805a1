// Running the tools that read the store's files: Python with h5py, h5dump.
#pragma once

#include <cstdlib>
#include <string>

namespace setrl::store {

inline std::string shell_word(const std::string& text) {
  return "'" + text + "'";
}

inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

inline bool succeeds(const std::string& command) {
  return std::system(command.c_str()) == 0;
}

// The project's Python, or the one of SETRL_PYTHON; "" where it lacks h5py or pandas.
inline std::string python() {
  std::string path = environment("SETRL_PYTHON");
  if (path.empty()) path = environment("SETRL_SOURCE_DIR") + "/.venv/bin/python";
  return succeeds(shell_word(path) + " -c 'import h5py, pandas' 2>/dev/null") ? path : "";
}

constexpr const char* kNoPython = "NOT TESTED: no Python with h5py and pandas; run launch/setup.sh or set SETRL_PYTHON";

inline std::string test_script(const std::string& name) {
  return shell_word(environment("SETRL_SOURCE_DIR") + "/tests/store/" + name);
}

}  // namespace setrl::store
