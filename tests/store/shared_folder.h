// A temporary folder that all ranks know.
#pragma once

#include <memory>
#include <string>

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

}  // namespace setrl::store::testing
