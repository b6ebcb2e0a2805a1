// Ranks that agree on a save through files, when some of them are told to stop, or fail, and others are not.
#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"
#include "store/checkpoint_saver.h"
#include "store/shared_folder.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

using testing::SharedFolder;
using testing::world;

class SaverRanks : public testing::EachLayout {
 protected:
  void save(CheckpointSaver& saver, std::int64_t step, std::vector<std::string> after = {}) {
    const SampleState state(world().rank(), world().size(), static_cast<std::uint64_t>(step));
    saver.save(sample_info(step), state.views(), std::move(after));
    saver.wait_for_copy();
  }
  void expect_newest(std::int64_t step) {
    world().barrier();
    const std::string folder = find_newest_checkpoint(run_.path());
    ASSERT_EQ(folder, run_.path() + fmt::format("/checkpoints/step-{:06}", step));
    const SampleState expected(world().rank(), world().size(), static_cast<std::uint64_t>(step));
    const SampleState loaded(world().rank(), world().size(), 0, false);
    load_checkpoint(folder, loaded.views());
    EXPECT_TRUE(loaded.equals(expected));
    world().barrier();
  }
  // Saves step 2, which cannot be completed, and step 3, before which only `hurried` is told to stop.
  void give_way(int hurried) {
    StoreThread thread;
    const auto urgent = [hurried] { return world().rank() == hurried; };
    CheckpointSaver saver({run_.path(), {2, 0}, 60, urgent, GetParam()}, world(), thread);
    save(saver, 1);
    saver.finish();
    expect_newest(1);
    save(saver, 2, {run_.path() + "/never"});
    save(saver, 3);
    saver.finish();
    expect_newest(3);
    EXPECT_FALSE(fs::exists(run_.path() + "/checkpoints/step-000002"));
  }

  SharedFolder run_;
};

TEST_P(SaverRanks, ManySavesFollowEachOther) {
  StoreThread thread;
  CheckpointSaver saver({run_.path(), {3, 0}, 60, {}, GetParam()}, world(), thread);
  for (std::int64_t step = 1; step <= 12; ++step) save(saver, step);
  saver.finish();
  expect_newest(12);
}

TEST_P(SaverRanks, TheFirstRankAloneIsToldToStop) {
  give_way(0);
}

TEST_P(SaverRanks, AllAbandon) {
  StoreThread thread;
  CheckpointSaver saver({run_.path(), {3, 0}, 60, {}, GetParam()}, world(), thread);
  for (std::int64_t step = 1; step <= 20; ++step) {
    save(saver, step, {run_.path() + "/never"});
    saver.abandon();
  }
  save(saver, 21);
  saver.finish();
  expect_newest(21);
}

// The others go on without this rank's word, and learn of it when they end together.
TEST_P(SaverRanks, AFailureOfOneEndsTheWaitOfAll) {
  const int last = world().size() - 1;
  StoreThread thread;
  CheckpointSaver saver({run_.path(), {3, 0}, 60, {}, GetParam()}, world(), thread);
  save(saver, 1);
  saver.finish();
  const SampleState state(world().rank(), world().size(), 2);
  auto views = state.views();
  if (world().rank() == last) views[0].dtype = DType::float16;  // a rank that cannot even begin
  saver.save(sample_info(2), views);
  std::string error;
  try {
    saver.finish();
  } catch (const BugError& bug) {
    error = bug.what();
  }
  EXPECT_NE(error.find(fmt::format("learner rank {}", last)), std::string::npos) << error;
  expect_newest(1);
  save(saver, 3);
  saver.finish();
  expect_newest(3);
}

INSTANTIATE_TEST_SUITE_P(Layouts, SaverRanks, ::testing::Values(Layout::per_rank, Layout::shared),
                         testing::name_of_layout);

}  // namespace
}  // namespace setrl::store
