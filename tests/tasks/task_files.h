// Folders of task files made by a test, and the real ones.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"
#include "tasks/task.h"

namespace setrl::tasks::testing {

// Removed at the end of its life.
class Folder {
 public:
  Folder() {
    std::string pattern = ::testing::TempDir() + "setrl-tasks-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ + "/" + name) << text; }

 private:
  std::string path_;
};

// The message of the UserError that making the task throws, or "".
inline std::string error_of(const RunConfig& config) {
  try {
    make_task(config);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

// The folder of real data, or "" (then the test skips).
inline std::string real_data(const std::string& name) {
  const char* root = std::getenv("SETRL_DATA");
  const std::string path = std::string(root == nullptr ? "../shared/data" : root) + "/" + name;
  return std::filesystem::is_directory(path) ? path : "";
}

}  // namespace setrl::tasks::testing

#define SETRL_NEED_REAL_DATA(variable, name)                             \
  const std::string variable = ::setrl::tasks::testing::real_data(name); \
  if (variable.empty()) GTEST_SKIP() << "no real data: SETRL_DATA/" << (name) << " is not there; the test was NOT run"
