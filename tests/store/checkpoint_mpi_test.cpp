#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>

#include "base/error.h"
#include "store/outside_tools.h"
#include "store/shared_folder.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

using testing::SharedFolder;
using testing::world;

class CheckpointRanks : public testing::EachLayout {};

// "rank-0000.h5 rank-0001.h5 ..."
std::string rank_files(int ranks) {
  std::string names;
  for (int rank = 0; rank < ranks; ++rank) names += fmt::format("rank-{:04}.h5 ", rank);
  return names;
}

// Saved by every number of ranks up to the world's size, loaded under every number from 1 to 5: the slices' bounds fall
// in other places each time.
TEST_P(CheckpointRanks, SavedByAnyNumberLoadedByAnyNumber) {
  const SharedFolder run;
  for (int writers = 1; writers <= world().size(); ++writers) {
    const bool writes = world().rank() < writers;
    const auto learners = world().split(writes ? 0 : -1, "learners");
    if (learners) {
      const SampleState state(learners->rank(), writers, static_cast<std::uint64_t>(writers));
      save_checkpoint(run.path(), sample_info(writers), state.views(), {100}, *learners, GetParam());
    }
    world().barrier();
    const std::string folder = find_newest_checkpoint(run.path());
    ASSERT_EQ(read_checkpoint_info(folder).step, writers);
    for (int readers = 1; readers <= 5; ++readers) {
      for (int reader = 0; reader < readers; ++reader) {
        const SampleState expected(reader, readers, static_cast<std::uint64_t>(writers));
        const SampleState loaded(reader, readers, 0, false);
        load_checkpoint(folder, loaded.views());
        EXPECT_TRUE(loaded.equals(expected)) << writers << " -> " << reader << " of " << readers;
      }
    }
    world().barrier();
  }
}

// index.h5 shows every tensor whole, also after the folder was moved and from another working folder.
TEST_P(CheckpointRanks, H5pyReadsThemLikeOneFile) {
  const SharedFolder run;
  const SampleState mine(world().rank(), world().size(), 10);
  const std::string folder = save_checkpoint(run.path(), sample_info(10), mine.views(), {3}, world(), GetParam());
  const std::string interpreter = python();
  if (interpreter.empty()) GTEST_SKIP() << kNoPython;
  if (world().rank() != 0) return;
  const std::string moved = run.path() + "/moved", expected = run.path() + "/expected";
  fs::rename(folder, moved);
  fs::create_directory(expected);
  const SampleState whole(0, 1, 10);
  for (const auto& view : whole.views()) {
    std::string name = view.name;
    std::replace(name.begin(), name.end(), '/', '@');
    std::ofstream(expected + "/" + name, std::ios::binary)
        .write(static_cast<const char*>(view.data), (view.end - view.begin) * 4);
  }
  EXPECT_TRUE(succeeds("cd / && " + shell_word(interpreter) + " " + test_script("read_checkpoint.py") + " " +
                       shell_word(moved) + " " + shell_word(expected) + " " +
                       (GetParam() == Layout::shared ? "shared.h5" : rank_files(world().size()))));
}

// The last rank may not write a file of this size. All ranks learn it, with the same words, and go on.
TEST_P(CheckpointRanks, OneRankFailsAllSayTheSame) {
  const SharedFolder run;
  const int last = world().size() - 1;
  const SampleState good(world().rank(), world().size(), 5);
  save_checkpoint(run.path(), sample_info(5), good.views(), {3}, world(), GetParam());

  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  if (world().rank() == last) {
    const rlimit small{200000, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  const SampleState next(world().rank(), world().size(), 10);
  const std::string error =
      user_error_of([&] { save_checkpoint(run.path(), sample_info(10), next.views(), {3}, world(), GetParam()); });
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_NE(error.find("learner rank " + std::to_string(last)), std::string::npos) << error;
  // MPI-IO keeps the reason to itself, unless the file could not even be made.
  const bool reasoned = GetParam() == Layout::per_rank || world().size() == 1;
  EXPECT_NE(error.find(reasoned ? "File too large" : "cannot write parameters/embedding.weight"), std::string::npos)
      << error;
  for (const auto& other : comm::all_gather_bytes(world(), {error.begin(), error.end()})) {
    EXPECT_EQ(std::string(other.begin(), other.end()), error);
  }
  EXPECT_EQ(find_newest_checkpoint(run.path()), run.path() + "/checkpoints/step-000005");
  EXPECT_FALSE(fs::exists(run.path() + "/checkpoints/step-000010.tmp"));
  world().barrier();

  save_checkpoint(run.path(), sample_info(10), next.views(), {3}, world(), GetParam());
  const SampleState loaded(world().rank(), world().size(), 0, false);
  load_checkpoint(find_newest_checkpoint(run.path()), loaded.views());
  EXPECT_TRUE(loaded.equals(next));
}

INSTANTIATE_TEST_SUITE_P(Layouts, CheckpointRanks, ::testing::Values(Layout::per_rank, Layout::shared),
                         testing::name_of_layout);

}  // namespace
}  // namespace setrl::store
