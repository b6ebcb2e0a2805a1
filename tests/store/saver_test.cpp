// Saves behind the steps: what training may do meanwhile, what gives way to what, and how failures come to light.
#include "store/checkpoint_saver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

using std::chrono::milliseconds;

class Saver : public ::testing::Test {
 protected:
  CheckpointSaver& saver() {
    if (!saver_)
      saver_.emplace(SaverOptions{run_.path(), {100, 0}, 60, [this] { return urgent_.load(); }}, *alone_, thread_);
    return *saver_;
  }
  void save(std::int64_t step, std::vector<std::string> after = {}) {
    saver().save(sample_info(step), state_of(step).views(), std::move(after));
    saver().wait_for_copy();
  }
  // Of one step, alive until the next.
  const SampleState& state_of(std::int64_t step) {
    state_ = std::make_unique<SampleState>(0, 1, static_cast<std::uint64_t>(step));
    return *state_;
  }
  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> found;
    for (const auto& folder : find_checkpoints(run_.path())) found.push_back(read_checkpoint_info(folder).step);
    return found;
  }

  TemporaryFolder run_;
  std::atomic<bool> urgent_{false};
  std::unique_ptr<comm::Communicator> alone_ = comm::make_local_communicator("learners");
  std::unique_ptr<SampleState> state_;
  StoreThread thread_;
  std::optional<CheckpointSaver> saver_;
};

TEST_F(Saver, TensorsMayChangeOnceTheyAreCopied) {
  SampleState state(0, 1, 4);
  saver().save(sample_info(4), state.views());
  saver().wait_for_copy();
  for (const auto& view : state.views()) {
    std::fill_n(static_cast<float*>(view.data), view.end - view.begin, -1.0f);
  }
  saver().finish();
  EXPECT_TRUE(holds_sample(run_ / "checkpoints/step-000004", 4));
}

TEST_F(Saver, SavesThatFollowEachOtherAreAllMade) {
  for (std::int64_t step = 1; step <= 5; ++step) save(step);
  saver().finish();
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{5, 4, 3, 2, 1}));
  for (std::int64_t step = 1; step <= 5; ++step) {
    EXPECT_TRUE(holds_sample(run_ / fmt::format("checkpoints/step-{:06}", step), step));
  }
}

TEST_F(Saver, IsPublishedOnlyWhenTheFilesItFollowsExist) {
  const std::string file = run_ / "trajectory";
  save(1, {file});
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_TRUE(steps().empty());
  write_file(file, "there");
  saver().finish();
  EXPECT_EQ(steps(), std::vector<std::int64_t>{1});
}

// A save that waits for ever stands for one on a slow disk.
TEST_F(Saver, OneOnItsWayGivesWayToALaterOne) {
  save(1);
  saver().finish();
  save(2, {run_ / "never"});
  saver().abandon();
  save(3);
  saver().finish();
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{3, 1}));
  EXPECT_FALSE(fs::exists(run_ / "checkpoints/step-000002.tmp"));
}

TEST_F(Saver, ASignalEndsTheWaitForASlowDisk) {
  save(2, {run_ / "never"});
  std::thread signal([&] {
    std::this_thread::sleep_for(milliseconds(100));
    urgent_ = true;
  });
  save(3);  // would wait for ever
  signal.join();
  saver().finish();
  EXPECT_EQ(steps(), std::vector<std::int64_t>{3});
}

TEST_F(Saver, ACompleteOneIsNotGivenUp) {
  save(1);
  saver().finish();
  saver().abandon();
  saver().finish();
  EXPECT_EQ(steps(), std::vector<std::int64_t>{1});
}

TEST_F(Saver, DestroyingItLeavesWholeCheckpointsOnly) {
  save(1);
  saver().finish();
  save(2, {run_ / "never"});
  saver_.reset();
  EXPECT_EQ(steps(), std::vector<std::int64_t>{1});
}

TEST_F(Saver, ShortWorksPassALongSave) {
  save(1, {run_ / "never"});
  bool passed = false;
  thread_.call([&] { passed = true; });
  EXPECT_TRUE(passed);
}

TEST_F(Saver, AFailureIsToldAndTheNextSaveWorks) {
  saver();
  fs::remove_all(run_ / "checkpoints");
  write_file(run_ / "checkpoints", "a file where the folder should be");
  save(1);
  EXPECT_NE(user_error_of([&] { saver().finish(); }).find(run_ / "checkpoints"), std::string::npos);
  fs::remove(run_ / "checkpoints");
  save(2);
  saver().finish();
  EXPECT_EQ(steps(), std::vector<std::int64_t>{2});
}

TEST_F(Saver, AFailureIsToldAtTheNextStep) {
  saver();
  fs::remove_all(run_ / "checkpoints");
  write_file(run_ / "checkpoints", "");
  save(1);
  std::string error;
  for (int i = 0; i < 1000 && error.empty(); ++i) {
    std::this_thread::sleep_for(milliseconds(5));
    error = user_error_of([&] { saver().check(); });
  }
  EXPECT_NE(error.find("checkpoint not saved: learner rank 0"), std::string::npos) << error;
  saver().check();  // once
}

TEST_F(Saver, SomeAreKeptForEver) {
  saver_.emplace(SaverOptions{run_.path(), {2, 4}, 60, {}}, *alone_, thread_);
  for (std::int64_t step = 1; step <= 11; ++step) save(step);
  saver().finish();
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{11, 10, 8, 4}));
}

TEST(StoreThread, RunsInOrderAndTellsErrorsOnce) {
  StoreThread thread;
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) thread.post([&order, i] { order.push_back(i); });
  thread.drain();
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  thread.post([] { throw_user_error("disk full"); });
  thread.post([&order] { order.push_back(100); });
  EXPECT_EQ(user_error_of([&] { thread.drain(); }), "disk full");
  thread.drain();
  EXPECT_EQ(order.back(), 100);
  EXPECT_EQ(user_error_of([&] { thread.call([] { throw_user_error("unreadable"); }); }), "unreadable");
  thread.check();
}

TEST(StoreThread, FinishesShortWorksAtItsEnd) {
  std::atomic<int> done{0};
  {
    StoreThread thread;
    for (int i = 0; i < 5; ++i) {
      thread.post([&] {
        std::this_thread::sleep_for(milliseconds(5));
        ++done;
      });
    }
  }
  EXPECT_EQ(done, 5);
}

}  // namespace
}  // namespace setrl::store
