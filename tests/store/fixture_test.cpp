// Every schema version that was ever released is read.
#include <gtest/gtest.h>

#include "records/wire.h"
#include "store/check.h"
#include "store/fixture_state.h"
#include "store/outside_tools.h"

namespace setrl::store {
namespace {

TEST(Fixture, Version1) {
  const std::string run = environment("SETRL_FIXTURES") + "/store/version-1";
  const std::string folder = find_newest_checkpoint(run);
  ASSERT_NE(folder, "");
  const CheckpointReader reader(folder);
  const CheckpointInfo& info = reader.info();
  const CheckpointInfo expected = fixture::info();
  EXPECT_EQ(info.schema_version, 1);
  EXPECT_EQ(info.step, expected.step);
  EXPECT_EQ(info.policy_version, expected.policy_version);
  EXPECT_EQ(info.optimizer_steps, expected.optimizer_steps);
  EXPECT_EQ(info.config, expected.config);
  EXPECT_EQ(info.config_hash, expected.config_hash);
  EXPECT_EQ(info.model_config, expected.model_config);
  EXPECT_EQ(info.extra, expected.extra);
  EXPECT_EQ(info.files, expected.files);
  for (const int ranks : {1, 3}) {
    for (int rank = 0; rank < ranks; ++rank) {
      const fixture::State loaded(rank, ranks, false);
      reader.load(loaded.views());
      EXPECT_EQ(loaded.values(), fixture::State(rank, ranks, true).values());
    }
  }
  const auto parts = trajectory_parts(run, fixture::kStep);
  ASSERT_EQ(parts.size(), 1u);
  const Trajectory trajectory = read_trajectory(parts[0]);
  EXPECT_EQ(trajectory.info.config_hash, expected.config_hash);
  ASSERT_EQ(trajectory.groups.size(), 1u);
  EXPECT_EQ(encode(trajectory.groups[0].group), encode(fixture::group().group));
  EXPECT_EQ(trajectory.groups[0].texts, fixture::group().texts);
  CheckReport report;
  check_checkpoint(folder, report);
  check_file(parts[0], report);
  EXPECT_TRUE(report.clean());
}

// The trajectory's second version; checkpoints have had one only.
TEST(Fixture, TrajectoryVersion2) {
  const std::string run = environment("SETRL_FIXTURES") + "/store/version-2";
  const auto parts = trajectory_parts(run, fixture::kStep);
  ASSERT_EQ(parts.size(), 1u);
  const Trajectory trajectory = read_trajectory(parts[0]);
  EXPECT_EQ(trajectory.info.schema_version, 2);
  ASSERT_EQ(trajectory.groups.size(), 1u);
  EXPECT_EQ(encode(trajectory.groups[0].group), encode(fixture::group().group));
  CheckReport report;
  check_file(parts[0], report);
  EXPECT_TRUE(report.clean());
}

}  // namespace
}  // namespace setrl::store
