// What the tests of the sandbox share.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/run_config.h"
#include "verify/sandbox.h"

namespace setrl::verify {

// Short limits, so that programs which run into them do not take long.
inline VerifySection quick_limits() {
  VerifySection verify;
  verify.cpu_s = 1;
  verify.wall_s = 3;
  verify.memory_mb = 256;
  verify.output_kb = 256;
  verify.workers = 2;
  return verify;
}

// Why programs cannot be run in bubblewrap here, or "".
inline std::string why_no_sandbox() {
  try {
    Sandbox sandbox(quick_limits());
    sandbox.run({{}, "", {"assert one() == 1"}}, "def one(): return 1");
    return "";
  } catch (const std::exception& failure) {
    return failure.what();
  }
}

#define SKIP_WITHOUT_SANDBOX()                                                           \
  do {                                                                                   \
    static const std::string why = ::setrl::verify::why_no_sandbox();                    \
    if (!why.empty()) GTEST_SKIP() << "SKIPPED: bubblewrap does not work here: " << why; \
  } while (false)

// Processes below this one, whatever became of their parents in between.
inline std::set<int> descendants() {
  std::map<int, std::vector<int>> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "stat");
    std::string line;
    std::getline(file, line);
    const auto end = line.rfind(')');
    if (end == std::string::npos) continue;
    std::istringstream rest(line.substr(end + 1));
    std::string state;
    int parent = 0;
    rest >> state >> parent;
    children[parent].push_back(std::stoi(name));
  }
  std::set<int> found;
  std::vector<int> open = {static_cast<int>(::getpid())};
  while (!open.empty()) {
    const int process = open.back();
    open.pop_back();
    for (const int child : children[process]) {
      found.insert(child);
      open.push_back(child);
    }
  }
  return found;
}

}  // namespace setrl::verify
