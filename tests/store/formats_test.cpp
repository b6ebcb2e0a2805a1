// The files as other programs see them: h5py, pandas, h5dump.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "store/outside_tools.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

class Formats : public ::testing::Test {
 protected:
  void write_trajectory() {
    TrajectoryInfo info;
    info.step = 12;
    info.policy_version = 11;
    info.config_hash = "0123abcd";
    TrajectoryWriter writer(trajectory_path(run_.path(), 12, 0), info);
    for (int i = 0; i < 5; ++i) {
      const auto stored = sample_group(12, i, 4, 300);
      writer.append(stored.group, stored.texts);
    }
    writer.publish();
  }

  TemporaryFolder run_;
};

TEST_F(Formats, H5pyReadsTrajectories) {
  const std::string interpreter = python();
  if (interpreter.empty()) GTEST_SKIP() << kNoPython;
  write_trajectory();
  EXPECT_TRUE(
      succeeds(shell_word(interpreter) + " " + test_script("read_trajectory.py") + " " + shell_word(run_.path())));
}

// The example of docs/trajectory_format.md, as it stands there.
TEST_F(Formats, DocumentedExamplesWork) {
  const std::string interpreter = python();
  if (interpreter.empty()) GTEST_SKIP() << kNoPython;
  write_trajectory();
  const std::string docs = read_file(environment("SETRL_SOURCE_DIR") + "/docs/trajectory_format.md");
  const std::string open = "```python\n";
  const auto begin = docs.find(open);
  ASSERT_NE(begin, std::string::npos);
  const auto end = docs.find("```", begin + open.size());
  std::string example = docs.substr(begin + open.size(), end - begin - open.size());
  EXPECT_LE(std::count(example.begin(), example.end(), '\n'), 10);
  const std::string path = "runs/NAME/trajectories/step-000012.h5";
  ASSERT_NE(example.find(path), std::string::npos);
  example.replace(example.find(path), path.size(), trajectory_path(run_.path(), 12, 0));
  write_file(run_ / "example.py", example);
  EXPECT_TRUE(
      succeeds(shell_word(interpreter) + " " + shell_word(run_ / "example.py") + " > " + shell_word(run_ / "out.txt")));
  const std::string out = read_file(run_ / "out.txt");
  EXPECT_NE(out.find("case-0"), std::string::npos) << out;
  EXPECT_NE(out.find("Answer"), std::string::npos) << out;
}

TEST_F(Formats, H5dumpReadsBoth) {
  if (!succeeds("h5dump --version > /dev/null 2>&1"))
    GTEST_SKIP() << "NOT TESTED: h5dump not found (package hdf5-tools)";
  write_trajectory();
  save_sample(run_.path(), 10);
  const std::string dump = run_ / "dump.txt";
  EXPECT_TRUE(succeeds("h5dump " + shell_word(trajectory_path(run_.path(), 12, 0)) + " > " + shell_word(dump)));
  const std::string trajectory = read_file(dump);
  EXPECT_NE(trajectory.find("DATASET \"logprobs\""), std::string::npos);
  EXPECT_NE(trajectory.find("bad_format"), std::string::npos);
  EXPECT_TRUE(
      succeeds("h5dump -H " + shell_word(run_ / "checkpoints/step-000010/index.h5") + " > " + shell_word(dump)));
  EXPECT_NE(read_file(dump).find("DATASET \"layers.0.weight\""), std::string::npos);
  EXPECT_TRUE(succeeds("h5dump -d parameters/conv " + shell_word(run_ / "checkpoints/step-000010/index.h5") + " > " +
                       shell_word(dump)));
  EXPECT_EQ(read_file(dump).find("nan"), std::string::npos);
}

}  // namespace
}  // namespace setrl::store
