// Groups in flight: the file, its place in a checkpoint, damage.
#include "store/in_flight_file.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "store/check.h"
#include "store/checkpoint_saver.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

constexpr std::int64_t kStep = 6;

// One graded, one generated, one that is still being written.
std::vector<Group> sample_in_flight(std::int64_t salt = 0) {
  std::vector<Group> groups;
  for (std::int64_t i = 0; i < 3; ++i) groups.push_back(sample_group(kStep + 1 + i, salt + i, 5, 40).group);
  groups[1].verdicts.clear();
  groups[2].verdicts.clear();
  groups[2].completions[0].finish = FinishReason::unfinished;
  groups[2].completions[3].finish = FinishReason::unfinished;
  return groups;
}

std::vector<Bytes> encoded(const std::vector<Group>& groups) {
  std::vector<Bytes> result;
  for (const auto& group : groups) result.push_back(encode(group));
  return result;
}

class InFlight : public ::testing::Test {
 protected:
  // Saves step `kStep`; the groups are handed over once the tensors are copied.
  std::string save(std::vector<Group> groups) {
    StoreThread thread;
    CheckpointSaver saver({run_.path(), {100, 0}, 60, {}}, *alone_, thread);
    const SampleState state(0, 1, kStep);
    std::promise<std::vector<Group>> promise;
    saver.save(sample_info(kStep), state.views(), {}, promise.get_future());
    saver.wait_for_copy();
    EXPECT_EQ(find_newest_checkpoint(run_.path()), "");  // waits for them
    promise.set_value(std::move(groups));
    saver.finish();
    return run_ / "checkpoints/step-000006";
  }

  TemporaryFolder run_;
  std::unique_ptr<comm::Communicator> alone_ = comm::make_local_communicator("learners");
};

TEST_F(InFlight, GroupsOfEveryStageComeBackAsTheyWere) {
  const auto groups = sample_in_flight();
  const std::string folder = save(groups);
  EXPECT_EQ(encoded(read_in_flight(folder)), encoded(groups));
  EXPECT_TRUE(holds_sample(folder, kStep));
  CheckReport report;
  check_checkpoint(folder, report);
  check_file(folder + "/in-flight-0000.h5", report);
  EXPECT_TRUE(report.clean());
}

TEST_F(InFlight, EqualGroupsGiveEqualBytes) {
  for (const char* name : {"a", "b"}) {
    fs::create_directory(run_ / name);
    write_in_flight(run_ / name, 3, sample_in_flight());
  }
  EXPECT_EQ(read_file(run_ / "a/in-flight-0003.h5"), read_file(run_ / "b/in-flight-0003.h5"));
}

TEST_F(InFlight, WithoutAnyACheckpointIsAsBefore) {
  const std::string folder = save({});
  EXPECT_FALSE(fs::exists(folder + "/in-flight-0000.h5"));
  EXPECT_TRUE(read_in_flight(folder).empty());
  TemporaryFolder other;
  const std::string plain = save_sample(other.path(), kStep);
  for (const char* name : {"DONE", "index.h5", "rank-0000.h5"}) {
    EXPECT_EQ(read_file(folder + "/" + name), read_file(plain + "/" + name)) << name;
  }
}

TEST_F(InFlight, DamageIsFoundWhereverItIs) {
  const std::string folder = save(sample_in_flight());
  const std::string path = folder + "/in-flight-0000.h5";
  const std::string good = read_file(path);
  RandomStream random(3, 5);
  for (int i = 0; i < 60; ++i) {
    std::string bad = good;
    const std::size_t at = random.below(good.size());
    if (i % 4 == 0) {
      bad.resize(at);
    } else {
      bad[at] = static_cast<char>(bad[at] ^ (1 << random.below(8)));
    }
    write_file(path, bad);
    EXPECT_NE(user_error_of([&] { read_in_flight(folder); }).find(path), std::string::npos) << at;
    CheckReport report;
    check_checkpoint(folder, report);
    EXPECT_FALSE(report.clean()) << at;
  }
  fs::remove(path);
  EXPECT_NE(user_error_of([&] { read_in_flight(folder); }).find(path), std::string::npos);
  EXPECT_TRUE(find_checkpoints(run_.path()).empty());
  // Whole, but of another checkpoint.
  fs::create_directory(run_ / "other");
  write_in_flight(run_ / "other", 0, sample_in_flight(20));
  fs::copy(run_ / "other/in-flight-0000.h5", path);
  EXPECT_NE(user_error_of([&] { read_in_flight(folder); }).find(path), std::string::npos);
}

// The thread that trains never hands them over: a later save must not wait for this one.
TEST_F(InFlight, ASaveThatWaitsForThemGivesWay) {
  StoreThread thread;
  std::promise<std::vector<Group>> never;
  const SampleState state(0, 1, kStep), later(0, 1, kStep + 1);
  CheckpointSaver saver({run_.path(), {100, 0}, 60, {}}, *alone_, thread);
  saver.save(sample_info(kStep), state.views(), {}, never.get_future());
  saver.wait_for_copy();
  saver.abandon();
  saver.save(sample_info(kStep + 1), later.views());
  saver.finish();
  EXPECT_FALSE(fs::exists(run_ / "checkpoints/step-000006"));
  EXPECT_TRUE(holds_sample(run_ / "checkpoints/step-000007", kStep + 1));
}

TEST_F(InFlight, ATrajectoryTakesNoUnfinishedCompletion) {
  TrajectoryWriter writer(run_ / "step-000007.h5", {});
  Group group = sample_group(7, 0, 2, 10).group;
  group.completions[1].finish = FinishReason::unfinished;
  writer.append(group, {"", ""});
  EXPECT_THROW(writer.publish(), BugError);
}

}  // namespace
}  // namespace setrl::store
