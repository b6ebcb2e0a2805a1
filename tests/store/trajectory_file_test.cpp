#include "store/trajectory_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

TrajectoryInfo sample_trajectory_info(std::int64_t step) {
  TrajectoryInfo info;
  info.step = step;
  info.policy_version = step - 1;
  info.config_hash = "0123abcd";
  return info;
}

void write_groups(const std::string& path, const std::vector<StoredGroup>& groups) {
  TrajectoryWriter writer(path, sample_trajectory_info(12));
  for (const auto& [group, texts] : groups) writer.append(group, texts);
  writer.publish();
}

std::vector<StoredGroup> sample_groups(std::size_t count, std::size_t completions, std::size_t tokens) {
  std::vector<StoredGroup> groups;
  for (std::size_t i = 0; i < count; ++i) {
    groups.push_back(sample_group(12, static_cast<std::int64_t>(i), completions, tokens));
  }
  return groups;
}

TEST(TrajectoryFile, RoundTrip) {
  const TemporaryFolder folder;
  const auto groups = sample_groups(9, 6, 400);
  const std::string path = trajectory_path(folder.path(), 12, 0);
  write_groups(path, groups);
  const Trajectory read = read_trajectory(path);
  EXPECT_EQ(read.info.schema_version, 3);
  EXPECT_EQ(read.info.step, 12);
  EXPECT_EQ(read.info.policy_version, 11);
  EXPECT_EQ(read.info.config_hash, "0123abcd");
  ASSERT_EQ(read.groups.size(), groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) expect_equal(read.groups[i], groups[i]);
}

TEST(TrajectoryFile, EmptyStepAndEmptyGroups) {
  const TemporaryFolder folder;
  write_groups(folder / "none.h5", {});
  EXPECT_TRUE(read_trajectory(folder / "none.h5").groups.empty());
  auto groups = sample_groups(2, 0, 0);
  write_groups(folder / "bare.h5", groups);
  ASSERT_EQ(read_trajectory(folder / "bare.h5").groups.size(), 2u);
  expect_equal(read_trajectory(folder / "bare.h5").groups[1], groups[1]);
}

TEST(TrajectoryFile, EqualGroupsGiveEqualBytesInAnyOrder) {
  const TemporaryFolder folder;
  auto groups = sample_groups(7, 4, 100);
  write_groups(folder / "a.h5", groups);
  std::reverse(groups.begin(), groups.end());
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // a time stamp would count seconds
  write_groups(folder / "b.h5", groups);
  EXPECT_EQ(read_file(folder / "a.h5"), read_file(folder / "b.h5"));
}

TEST(TrajectoryFile, NulInAnAnswerIsWrittenAsItsSymbol) {
  const TemporaryFolder folder;
  auto groups = sample_groups(1, 1, 10);
  groups[0].texts[0] = std::string("a\0b\xFF", 4);  // texts are bytes: nothing is lost
  groups[0].group.verdicts[0] = Verdict{};
  groups[0].group.verdicts[0].answers.answers = {std::string("x\0y", 3)};
  write_groups(folder / "nul.h5", groups);
  const auto read = read_trajectory(folder / "nul.h5").groups.at(0);
  EXPECT_EQ(read.texts, groups[0].texts);
  EXPECT_EQ(read.group.verdicts[0].answers.answers[0], "x\xE2\x90\x80y");
}

TEST(TrajectoryFile, NothingIsThereBeforePublish) {
  const TemporaryFolder folder;
  const std::string path = trajectory_path(folder.path(), 3, 0);
  {
    TrajectoryWriter writer(path, sample_trajectory_info(3));
    const auto stored = sample_group(3, 0, 2, 10);
    writer.append(stored.group, stored.texts);
  }
  EXPECT_TRUE(fs::is_empty(folder / "trajectories"));
  EXPECT_TRUE(trajectory_steps(folder.path()).empty());
}

TEST(TrajectoryFile, IncompleteGroupsAreABug) {
  const TemporaryFolder folder;
  TrajectoryWriter writer(folder / "x.h5", sample_trajectory_info(3));
  auto stored = sample_group(3, 0, 2, 10);
  stored.group.verdicts.pop_back();
  writer.append(stored.group, stored.texts);
  EXPECT_THROW(writer.publish(), BugError);
}

TEST(TrajectoryFile, PathsPartsAndSteps) {
  const TemporaryFolder folder;
  EXPECT_EQ(trajectory_path("runs/a", 12, 0), "runs/a/trajectories/step-000012.h5");
  EXPECT_EQ(trajectory_path("runs/a", 12, 1), "runs/a/trajectories/step-000012.1.h5");
  for (const auto& [step, part] : std::vector<std::pair<int, int>>{{12, 0}, {12, 10}, {12, 2}, {3, 0}, {1000000, 0}}) {
    write_groups(trajectory_path(folder.path(), step, part), {});
  }
  for (const char* name : {"step-000012.h5.tmp", "step-.h5", "step-12x.h5", "notes.txt", "step-000012.a.h5"}) {
    write_file(folder / ("trajectories/" + std::string(name)), "x");
  }
  EXPECT_EQ(trajectory_steps(folder.path()), (std::vector<std::int64_t>{3, 12, 1000000}));
  EXPECT_EQ(trajectory_parts(folder.path(), 12),
            (std::vector<std::string>{trajectory_path(folder.path(), 12, 0), trajectory_path(folder.path(), 12, 2),
                                      trajectory_path(folder.path(), 12, 10)}));
  EXPECT_TRUE(trajectory_parts(folder.path(), 4).empty());
  EXPECT_TRUE(trajectory_steps(folder / "absent").empty());
  drop_trajectories_after(folder.path(), 3);
  EXPECT_EQ(trajectory_steps(folder.path()), (std::vector<std::int64_t>{3}));
}

// The whole file is verified before it is parsed, so every change is found and HDF5 never sees one.
TEST(TrajectoryFile, EveryFlippedBitAndTruncationIsFound) {
  const TemporaryFolder folder;
  const std::string path = folder / "step.h5";
  write_groups(path, sample_groups(4, 3, 200));
  const std::string good = read_file(path);
  RandomStream random(1, 1);
  for (int i = 0; i < 400; ++i) {
    std::string bad = good;
    // The first 1,024 bytes hold the seal and the superblock: half of the flips go there.
    const std::size_t at = random.below(i % 2 == 0 ? 1024 : bad.size());
    bad[at] = static_cast<char>(bad[at] ^ (1 << random.below(8)));
    write_file(path, bad);
    EXPECT_NE(user_error_of([&] { read_trajectory(path); }).find(path), std::string::npos) << "byte " << at;
  }
  for (int i = 0; i < 100; ++i) {
    write_file(path, good.substr(0, random.below(i % 2 == 0 ? 600 : good.size())));
    EXPECT_NE(user_error_of([&] { read_trajectory(path); }).find(path), std::string::npos);
  }
  write_file(path, good + "x");
  EXPECT_NE(user_error_of([&] { read_trajectory(path); }), "");
  write_file(path, good);
  EXPECT_EQ(read_trajectory(path).groups.size(), 4u);
}

TEST(TrajectoryFile, OtherFilesAreNamed) {
  const TemporaryFolder folder;
  EXPECT_NE(user_error_of([&] { read_trajectory(folder / "absent.h5"); }).find("absent.h5"), std::string::npos);
  EXPECT_NE(user_error_of([&] { read_trajectory(folder.path()); }).find(folder.path()), std::string::npos);
  write_file(folder / "text.h5", std::string(5000, 'x'));
  EXPECT_NE(user_error_of([&] { read_trajectory(folder / "text.h5"); }).find("is not a file of the kind"),
            std::string::npos);
}

}  // namespace
}  // namespace setrl::store
