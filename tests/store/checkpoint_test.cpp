#include "store/checkpoint.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/error.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

TEST(Checkpoint, RoundTrip) {
  const TemporaryFolder run;
  const std::string folder = save_sample(run.path(), 10);
  EXPECT_EQ(folder, run / "checkpoints/step-000010");
  EXPECT_TRUE(holds_sample(folder, 10));
  const CheckpointInfo info = read_checkpoint_info(folder);
  const CheckpointInfo expected = sample_info(10);
  EXPECT_EQ(info.schema_version, 1);
  EXPECT_EQ(info.policy_version, expected.policy_version);
  EXPECT_EQ(info.optimizer_steps, expected.optimizer_steps);
  EXPECT_EQ(info.config, expected.config);
  EXPECT_EQ(info.config_hash, expected.config_hash);
  EXPECT_EQ(info.model_config, expected.model_config);
  EXPECT_EQ(info.extra, expected.extra);
  const auto tensors = list_tensors(folder);
  const SampleState state(0, 1, 10);
  ASSERT_EQ(tensors.size(), state.views().size());
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    EXPECT_EQ(tensors[t].name, state.views()[t].name);
    EXPECT_EQ(tensors[t].shape, state.views()[t].shape);
  }
}

TEST(Checkpoint, EqualStatesGiveEqualBytes) {
  const TemporaryFolder a, b;
  save_sample(a.path(), 10);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // a time stamp would count seconds
  save_sample(b.path(), 10);
  for (const char* name : {"index.h5", "rank-0000.h5", "DONE"}) {
    EXPECT_EQ(read_file(a / ("checkpoints/step-000010/" + std::string(name))),
              read_file(b / ("checkpoints/step-000010/" + std::string(name))))
        << name;
  }
}

TEST(Checkpoint, ReadsAnyRange) {
  const TemporaryFolder run;
  const std::string folder = save_sample(run.path(), 3);
  const SampleState state(0, 1, 3);
  const TensorView& view = state.views()[0];  // 700,000 elements in three checksum blocks
  const auto* expected = static_cast<const float*>(view.data);
  const CheckpointReader reader(folder);
  RandomStream random(2, 2);
  for (int i = 0; i < 40; ++i) {
    const auto begin = static_cast<std::int64_t>(random.below(700001));
    const auto end = begin + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(700001 - begin)));
    std::vector<float> part(static_cast<std::size_t>(end - begin) + 1, -7);
    reader.read(view.name, begin, end, part.data());
    EXPECT_TRUE(std::equal(expected + begin, expected + end, part.begin()));
    EXPECT_EQ(part.back(), -7);
  }
  EXPECT_NE(user_error_of([&] { reader.read(view.name, 0, 700001, nullptr); }).find(view.name), std::string::npos);
}

TEST(Checkpoint, ThreadsShareAReader) {
  const TemporaryFolder run;
  const CheckpointReader reader(save_sample(run.path(), 3));
  const SampleState expected(0, 1, 3);
  std::vector<std::thread> threads;
  std::vector<char> equal(4, 0);
  for (std::size_t i = 0; i < equal.size(); ++i) {
    threads.emplace_back([&, i] {
      const SampleState mine(0, 1, 0, false);
      reader.load(mine.views());
      equal[i] = mine.equals(expected);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<char>(4, 1));
}

TEST(Checkpoint, OtherModelsAreNamed) {
  const TemporaryFolder run;
  const std::string folder = save_sample(run.path(), 3);
  float value = 0;
  TensorView view{"parameters/absent", {1}, DType::float32, 0, 1, &value};
  EXPECT_NE(user_error_of([&] { load_checkpoint(folder, {view}); }).find("parameters/absent"), std::string::npos);
  view.name = "parameters/layers.0.bias";
  view.shape = {64};
  const std::string error = user_error_of([&] { load_checkpoint(folder, {view}); });
  EXPECT_NE(error.find("[65] in the checkpoint, [64] in this model"), std::string::npos) << error;
}

TEST(Checkpoint, LatestAndPrune) {
  const TemporaryFolder run;
  for (const std::int64_t step : {5, 10, 15, 20}) save_sample(run.path(), step, 2);
  EXPECT_EQ(find_checkpoints(run.path()),
            (std::vector<std::string>{run / "checkpoints/step-000020", run / "checkpoints/step-000015"}));
  EXPECT_EQ(fs::read_symlink(run / "checkpoints/latest"), "step-000020");
  EXPECT_FALSE(fs::exists(run / "checkpoints/step-000010"));
  EXPECT_TRUE(holds_sample(run / "checkpoints/latest", 20));
  save_sample(run.path(), 25, 1);
  EXPECT_EQ(find_newest_checkpoint(run.path()), run / "checkpoints/step-000025");
  EXPECT_EQ(find_checkpoints(run.path()).size(), 1u);
}

TEST(Checkpoint, PruneCountsOnlyWholeOnes) {
  const TemporaryFolder run;
  for (const std::int64_t step : {5, 10, 15}) save_sample(run.path(), step);
  fs::resize_file(run / "checkpoints/step-000015/rank-0000.h5", 1000);
  save_sample(run.path(), 20, 2);
  // The damaged one stays for a person to look at and takes no place.
  EXPECT_EQ(find_checkpoints(run.path()),
            (std::vector<std::string>{run / "checkpoints/step-000020", run / "checkpoints/step-000010"}));
  EXPECT_TRUE(fs::exists(run / "checkpoints/step-000015"));
  EXPECT_FALSE(fs::exists(run / "checkpoints/step-000005"));
}

TEST(Checkpoint, AnAbandonedFutureGoes) {
  const TemporaryFolder run;
  for (const std::int64_t step : {5, 10, 15}) save_sample(run.path(), step);
  save_sample(run.path(), 8);  // resumed from step 5
  EXPECT_EQ(find_checkpoints(run.path()),
            (std::vector<std::string>{run / "checkpoints/step-000008", run / "checkpoints/step-000005"}));
}

TEST(Checkpoint, SavingAStepAgainReplacesIt) {
  const TemporaryFolder run;
  save_sample(run.path(), 5);
  const auto alone = comm::make_local_communicator("learners");
  const SampleState other(0, 1, 77);
  const std::string folder = save_checkpoint(run.path(), sample_info(5), other.views(), {3}, *alone);
  const SampleState loaded(0, 1, 0, false);
  load_checkpoint(folder, loaded.views());
  EXPECT_TRUE(loaded.equals(other));
  EXPECT_EQ(find_checkpoints(run.path()), (std::vector<std::string>{folder}));
  EXPECT_FALSE(fs::exists(folder + ".replaced"));
}

TEST(Checkpoint, AReplacedOneCountsUntilItsReplacementIsWhole) {
  const TemporaryFolder run;
  const std::string folder = save_sample(run.path(), 5);
  fs::rename(folder, folder + ".replaced");  // killed between the two renames
  EXPECT_EQ(find_newest_checkpoint(run.path()), folder + ".replaced");
  EXPECT_TRUE(holds_sample(folder + ".replaced", 5));
  save_sample(run.path(), 5);
  EXPECT_EQ(find_checkpoints(run.path()), (std::vector<std::string>{folder}));
}

TEST(Checkpoint, InterruptedSavesAreClearedAway) {
  const TemporaryFolder run;
  const std::string folder = save_sample(run.path(), 5);
  fs::create_directories(run / "checkpoints/step-000010.tmp");
  write_file(run / "checkpoints/step-000010.tmp/rank-0000.h5", "half");
  fs::create_directories(run / "checkpoints/step-000007");  // renamed, but killed before DONE
  write_file(run / "checkpoints/step-000007/index.h5", "x");
  EXPECT_EQ(find_checkpoints(run.path()), (std::vector<std::string>{folder}));
  save_sample(run.path(), 15);
  EXPECT_FALSE(fs::exists(run / "checkpoints/step-000010.tmp"));
  EXPECT_FALSE(fs::exists(run / "checkpoints/step-000007"));
  EXPECT_TRUE(holds_sample(folder, 5));
}

TEST(Checkpoint, NothingThere) {
  const TemporaryFolder run;
  EXPECT_EQ(find_newest_checkpoint(run.path()), "");
  EXPECT_EQ(find_newest_checkpoint(run / "absent"), "");
  EXPECT_NE(user_error_of([&] { read_checkpoint_info(run.path()); }).find("no DONE file"), std::string::npos);
}

TEST(Checkpoint, MixedUpFolders) {
  const TemporaryFolder run;
  save_sample(run.path(), 5);
  save_sample(run.path(), 10);
  // A rank file of another step has the right size; its blocks differ from the index.
  fs::copy_file(run / "checkpoints/step-000005/rank-0000.h5", run / "checkpoints/step-000010/rank-0000.h5",
                fs::copy_options::overwrite_existing);
  EXPECT_NE(user_error_of([&] { holds_sample(run / "checkpoints/step-000010", 10); }).find("rank-0000.h5"),
            std::string::npos);
  fs::remove_all(run / "checkpoints/step-000010");
  fs::rename(run / "checkpoints/step-000005", run / "checkpoints/step-000010");
  EXPECT_EQ(find_newest_checkpoint(run.path()), "");
}

TEST(Checkpoint, OverlappingSlicesAreABugAndLeaveNothing) {
  const TemporaryFolder run;
  const auto alone = comm::make_local_communicator("learners");
  float values[4] = {1, 2, 3, 4};
  TensorView gap{"parameters/w", {6}, DType::float32, 1, 5, values};
  EXPECT_THROW(save_checkpoint(run.path(), sample_info(1), {gap}, {2}, *alone), BugError);
  EXPECT_TRUE(fs::is_empty(run / "checkpoints"));
}

}  // namespace
}  // namespace setrl::store
