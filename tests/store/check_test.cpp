// Whatever is missing, cut off, changed or mixed up in a run directory is found and named, and nothing crashes.
// SETRL_FAULT_COUNT: number of random faults (default 100).
#include "store/check.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/crc32c.h"
#include "store/metrics_file.h"
#include "store/outside_tools.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

constexpr const char* kHash = "abc123";  // of sample_info

// A run of six steps with two checkpoints, an evaluation, and two parts of every trajectory.
class Run : public ::testing::Test {
 protected:
  void SetUp() override {
    MetricsFile metrics(run_ / "metrics.jsonl");
    for (std::int64_t step = 1; step <= 6; ++step) {
      for (int part = 0; part < 2; ++part) write_part(trajectory_path(run_.path(), step, part), step, {part, part + 2});
      metrics.append(fmt::format("{{\"step\":{},\"loss\":{}}}", step, 0.1 * static_cast<double>(step)));
      if (step % 3 == 0) save(step, metrics.fingerprint());
    }
    write_part(run_ / "eval-000006.h5", 6, {0, 1});
    expectation_.config_hashes = {kHash};
    expectation_.groups_per_step = 4;
  }

  static void write_part(const std::string& path, std::int64_t step, const std::vector<int>& indices,
                         const std::string& hash = kHash) {
    TrajectoryInfo info;
    info.step = step;
    info.config_hash = hash;
    TrajectoryWriter writer(path, info);
    for (const int index : indices) {
      const auto stored = sample_group(step, index, 3, 30);
      writer.append(stored.group, stored.texts);
    }
    writer.publish();
  }

  // A small state, so that hundreds of checks are quick.
  void save(std::int64_t step, const MetricsFile::Fingerprint& print) {
    std::vector<float> values(5000, static_cast<float>(step));
    TensorView view{"parameters/w", {50, 100}, DType::float32, 0, 5000, values.data()};
    CheckpointInfo info = sample_info(step);
    info.extra = nlohmann::json{{"metrics_bytes", print.bytes}, {"metrics_crc32c", print.crc32c}}.dump();
    const auto alone = comm::make_local_communicator("learners");
    save_checkpoint(run_.path(), info, {view}, {9}, *alone);
  }

  CheckReport check() const {
    CheckReport report;
    check_run(run_.path(), expectation_, report);
    return report;
  }
  // One problem, which names `what`.
  void expect_problem(const std::string& what) const {
    const CheckReport report = check();
    ASSERT_FALSE(report.clean()) << what;
    EXPECT_NE(report.problems[0].find(what), std::string::npos) << report.problems[0];
  }
  static std::string joined(const std::vector<std::string>& lines) { return fmt::format("{}", fmt::join(lines, "\n")); }

  TemporaryFolder run_;
  RunExpectation expectation_;
};

TEST_F(Run, AWholeOneIsClean) {
  const CheckReport report = check();
  EXPECT_TRUE(report.clean()) << joined(report.problems);
  EXPECT_TRUE(report.notes.empty()) << joined(report.notes);
  EXPECT_EQ(report.usable, (std::vector<std::string>{"checkpoint of step 6: " + run_ / "checkpoints/step-000006",
                                                     "checkpoint of step 3: " + run_ / "checkpoints/step-000003",
                                                     "metrics of steps 1 .. 6", "trajectories of steps 1 .. 6"}));
}

TEST_F(Run, RandomFlipsAndCutsAreAllFound) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(run_.path())) {
    if (entry.is_regular_file() && !entry.is_symlink() && entry.path().string().find("latest") == std::string::npos) {
      files.push_back(entry.path().string());
    }
  }
  ASSERT_EQ(files.size(), 12u + 2 * 3 + 2);
  const std::string count = environment("SETRL_FAULT_COUNT");
  RandomStream random(11, 5);
  for (int i = 0; i < (count.empty() ? 100 : std::stoi(count)); ++i) {
    const std::string& file = files[random.below(files.size())];
    const std::string good = read_file(file);
    std::string bad = good;
    const std::size_t at = random.below(good.size());
    const bool cut = i % 3 == 0;
    if (cut) {
      bad.resize(at);
    } else {
      bad[at] = static_cast<char>(bad[at] ^ (1 << random.below(8)));
    }
    write_file(file, bad);
    CheckReport report = check();
    EXPECT_FALSE(report.clean()) << file << (cut ? " cut at " : " flipped at ") << at;
    EXPECT_NE(joined(report.problems).find(file.find("checkpoints") == std::string::npos ? file : "step-00000"),
              std::string::npos)
        << joined(report.problems);
    CheckReport alone;
    check_file(file, alone);
    if (file.find("metrics") == std::string::npos) {
      EXPECT_FALSE(alone.clean()) << file;
    }
    write_file(file, good);
  }
  EXPECT_TRUE(check().clean());
}

TEST_F(Run, MissingFilesAreNamed) {
  const std::map<std::string, std::string> expected = {
      {"metrics.jsonl", "metrics.jsonl: is missing"},
      {"trajectories/step-000004.h5", "2 of 4 groups of step 4 are missing"},
      {"trajectories/step-000004.1.h5", "2 of 4 groups of step 4 are missing"},
      {"checkpoints/step-000003/rank-0000.h5", "rank-0000.h5"},
      {"checkpoints/step-000003/index.h5", "index.h5"},
  };
  for (const auto& [name, problem] : expected) {
    const std::string good = read_file(run_ / name);
    fs::remove(run_ / name);
    expect_problem(problem);
    write_file(run_ / name, good);
  }
  EXPECT_TRUE(check().clean());
  for (int part = 0; part < 2; ++part) fs::remove(trajectory_path(run_.path(), 5, part));
  expect_problem("no file of step 5");
}

TEST_F(Run, AMissingDoneIsAnInterruptionOnlyWhereNothingFollows) {
  const std::string good = read_file(run_ / "checkpoints/step-000003/DONE");
  fs::remove(run_ / "checkpoints/step-000003/DONE");
  expect_problem("step-000003: its DONE is missing");
  write_file(run_ / "checkpoints/step-000003/DONE", good);
  fs::remove(run_ / "checkpoints/step-000006/DONE");
  const CheckReport report = check();
  EXPECT_TRUE(report.clean()) << joined(report.problems);
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes[0].find("step-000006: has no DONE"), std::string::npos);
}

TEST_F(Run, MixedUpFilesAreNamed) {
  const auto copy = [&](const std::string& from, const std::string& to) {
    fs::copy(run_ / from, run_ / to, fs::copy_options::overwrite_existing | fs::copy_options::recursive);
  };
  const std::string step4 = read_file(run_ / "trajectories/step-000004.h5");
  copy("trajectories/step-000005.h5", "trajectories/step-000004.h5");
  expect_problem("is the trajectory of step 5: mixed up");
  write_file(run_ / "trajectories/step-000004.h5", step4);
  const std::string part1 = read_file(run_ / "trajectories/step-000004.1.h5");
  copy("trajectories/step-000004.h5", "trajectories/step-000004.1.h5");
  expect_problem("hold the same groups of step 4");
  write_file(run_ / "trajectories/step-000004.1.h5", part1);
  write_part(run_ / "trajectories/step-000004.h5", 4, {0, 2}, "other");
  expect_problem("the configuration other, which this run never had");
  write_file(run_ / "trajectories/step-000004.h5", step4);

  const std::string rank = read_file(run_ / "checkpoints/step-000003/rank-0000.h5");
  copy("checkpoints/step-000006/rank-0000.h5", "checkpoints/step-000003/rank-0000.h5");
  expect_problem("step-000003/rank-0000.h5");
  write_file(run_ / "checkpoints/step-000003/rank-0000.h5", rank);
  write_file(run_ / "checkpoints/step-000003/rank-0001.h5", rank);
  expect_problem("rank-0001.h5: does not belong");
  fs::remove(run_ / "checkpoints/step-000003/rank-0001.h5");
  fs::rename(run_ / "checkpoints/step-000003", run_ / "checkpoints/step-000004");
  expect_problem("is the checkpoint of step 3: mixed up");
}

TEST_F(Run, LostAndChangedLinesAreNamed) {
  const std::string good = read_file(run_ / "metrics.jsonl");
  write_file(run_ / "metrics.jsonl", good.substr(good.find('\n') + 1));
  expect_problem("metrics.jsonl: lines up to step 6 are missing");
  std::string changed = good;
  changed[good.find("0.3")] = '7';
  write_file(run_ / "metrics.jsonl", changed);
  expect_problem("metrics.jsonl: was changed");
  write_file(run_ / "metrics.jsonl", good + "{\"step\":7,\"lo");  // killed while it was written
  EXPECT_TRUE(check().clean());
}

TEST_F(Run, WhatAnInterruptionLeavesIsNoted) {
  fs::create_directory(run_ / "checkpoints/step-000009.tmp");
  write_file(run_ / "trajectories/step-000007.h5.tmp", "half");
  write_file(run_ / "metrics.jsonl", read_file(run_ / "metrics.jsonl") + "{\"step\":7}\n");
  const CheckReport report = check();
  EXPECT_TRUE(report.clean()) << joined(report.problems);
  EXPECT_EQ(report.notes.size(), 3u) << joined(report.notes);
}

TEST_F(Run, AConfigurationOfThePastIsKnownToACheckpoint) {
  std::vector<float> value(1);
  TensorView view{"parameters/w", {1}, DType::float32, 0, 1, value.data()};
  CheckpointInfo info = sample_info(8);
  info.config_hash = "new";
  info.extra = R"({"config_hashes": ["abc123", "new"]})";
  const auto alone = comm::make_local_communicator("learners");
  save_checkpoint(run_.path(), info, {view}, {9}, *alone);
  expectation_.config_hashes = {"new"};
  const CheckReport report = check();
  EXPECT_TRUE(report.clean()) << joined(report.problems);
}

}  // namespace
}  // namespace setrl::store
