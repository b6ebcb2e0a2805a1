// A temporary folder that all ranks know, and tests that run for each layout of checkpoints.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "comm/mpi_handle.h"
#include "store/checkpoint_layout.h"
#include "store/parallel_open.h"
#include "store/store_samples.h"
#include "support/mpi_world.h"

namespace setrl::store::testing {

using ::setrl::testing::world;

class SharedFolder {
 public:
  SharedFolder() {
    if (world().rank() == 0) folder_ = std::make_unique<TemporaryFolder>();
    const std::string mine = folder_ ? folder_->path() : "";
    const auto all = comm::all_gather_bytes(world(), {mine.begin(), mine.end()});
    path_.assign(all[0].begin(), all[0].end());
  }
  ~SharedFolder() { world().barrier(); }
  const std::string& path() const { return path_; }

 private:
  std::unique_ptr<TemporaryFolder> folder_;
  std::string path_;
};

// The shared layout writes from a second thread.
[[maybe_unused]] inline const bool asked = (::setrl::testing::threads_wanted = comm::Threads::many, true);

// Skips the shared layout where this build has not what it needs.
class EachLayout : public ::testing::TestWithParam<Layout> {
 protected:
  void SetUp() override {
    const std::string problem = obstacle(GetParam(), h5::is_parallel(), comm::many_threads());
    if (!problem.empty()) GTEST_SKIP() << "NOT TESTED: " << problem;
  }
};

inline std::string name_of_layout(const ::testing::TestParamInfo<Layout>& info) {
  return to_string(info.param);
}

}  // namespace setrl::store::testing
