#include "store/checkpoint_layout.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "store/parallel_open.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

TEST(Layout, HasTheNamesOfTheOption) {
  for (const std::string name : {"per_rank", "shared"}) EXPECT_EQ(to_string(layout_of(name)), name);
  EXPECT_THROW(layout_of("other"), BugError);
}

TEST(Layout, RankFilesNeedNothing) {
  for (const bool parallel : {false, true}) {
    for (const bool threads : {false, true}) EXPECT_EQ(obstacle(Layout::per_rank, parallel, threads), "");
  }
}

TEST(Layout, ASharedFileNeedsAParallelLibraryAndThreads) {
  EXPECT_EQ(obstacle(Layout::shared, true, true), "");
  EXPECT_NE(obstacle(Layout::shared, false, true).find("libhdf5-openmpi-dev"), std::string::npos);
  EXPECT_NE(obstacle(Layout::shared, true, false).find("MPI_THREAD_MULTIPLE"), std::string::npos);
}

TEST(Layout, IsRefusedWithTheSerialLibrary) {
  if (h5::is_parallel()) GTEST_SKIP() << "this build has HDF5's parallel library";
  const auto alone = comm::make_local_communicator("learners");
  const TemporaryFolder run;
  const SampleState state(0, 1, 1);
  const std::string error =
      user_error_of([&] { save_checkpoint(run.path(), sample_info(1), state.views(), {3}, *alone, Layout::shared); });
  EXPECT_NE(error.find("needs the parallel build of HDF5"), std::string::npos) << error;
}

}  // namespace
}  // namespace setrl::store
