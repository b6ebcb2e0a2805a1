#include "learn/advantage.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "base/error.h"

namespace setrl::learn {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;

TEST(Advantages, FollowTheirFormulas) {
  const std::vector<double> rewards{1, 0, 0, 3};
  EXPECT_THAT(advantages("mean", rewards), ElementsAre(0, -1, -1, 2));
  const double s = std::sqrt(1.5);
  EXPECT_THAT(advantages("mean_std", rewards),
              Pointwise(DoubleNear(1e-5), std::vector<double>{0, -1 / s, -1 / s, 2 / s}));
  EXPECT_THAT(advantages("maxrl", rewards), Pointwise(DoubleNear(1e-5), std::vector<double>{0, -1, -1, 2}));
  EXPECT_THROW(advantages("median", rewards), UserError);
}

TEST(Advantages, AreZeroWithoutASignal) {
  for (const char* kind : {"mean", "mean_std", "maxrl"}) {
    EXPECT_THAT(advantages(kind, {0.1, 0.1, 0.1}), ElementsAre(0, 0, 0)) << kind;
    EXPECT_THAT(advantages(kind, {0, 0}), ElementsAre(0, 0)) << kind;
    EXPECT_TRUE(advantages(kind, {}).empty());
  }
}

Group graded_group(const std::vector<double>& rewards) {
  Group group;
  group.index = 4;
  group.prompt.tokens = {1, 2, 3};
  for (const double reward : rewards) {
    Completion completion;
    completion.tokens = {5, 6};
    completion.logprobs = {-1, -2};
    completion.finish = FinishReason::end_of_turn;
    group.completions.push_back(completion);
    Verdict verdict;
    verdict.total = reward;
    group.verdicts.push_back(verdict);
  }
  return group;
}

TEST(Prepare, LeavesInfrastructureFailuresOut) {
  Group group = graded_group({1, 0, 100});
  group.verdicts[2].outcome = Outcome::infrastructure_failure;
  const Prepared prepared = prepare({}, group);
  EXPECT_TRUE(prepared.signal);
  EXPECT_EQ(prepared.group.index, 4);
  EXPECT_THAT(prepared.group.prompt, ElementsAre(1, 2, 3));
  EXPECT_EQ(prepared.group.sequences[0].advantage, 0.5);
  EXPECT_EQ(prepared.group.sequences[1].advantage, -0.5);
  EXPECT_FALSE(prepared.group.sequences[1].masked);
  EXPECT_TRUE(prepared.group.sequences[2].masked);
  EXPECT_THAT(prepared.group.sequences[1].rollout_logprobs, ElementsAre(-1, -2));
}

TEST(Prepare, MasksTruncatedCompletionsOnlyWhereAsked) {
  Group group = graded_group({1, 0});
  group.completions[0].finish = FinishReason::length;
  LearnSection config;
  EXPECT_FALSE(prepare(config, group).group.sequences[0].masked);
  config.mask_truncated = true;
  EXPECT_TRUE(prepare(config, group).group.sequences[0].masked);
  EXPECT_EQ(prepare(config, group).group.sequences[1].advantage, -0.5);
  EXPECT_TRUE(prepare(config, group).signal);
}

TEST(Prepare, HasNoSignalWhereRewardsAreEqual) {
  EXPECT_FALSE(prepare({}, graded_group({0.3, 0.3, 0.3})).signal);
  Group unverified = graded_group({1, 0});
  unverified.verdicts.pop_back();
  EXPECT_THROW(prepare({}, unverified), BugError);
}

TEST(Balance, GivesTheLongestToTheLeastLoaded) {
  EXPECT_THAT(balance({5, 9, 4, 8}, 2), ElementsAre(1, 0, 0, 1));
  EXPECT_THAT(balance({5, 9, 4}, 1), ElementsAre(0, 0, 0));
  EXPECT_TRUE(balance({}, 3).empty());
  std::vector<std::int64_t> counts;
  for (int i = 0; i < 100; ++i) counts.push_back(200 + (i * 7919) % 400);
  const auto ranks = balance(counts, 8);
  std::vector<std::int64_t> load(8, 0);
  for (std::size_t i = 0; i < counts.size(); ++i) load[static_cast<std::size_t>(ranks[i])] += counts[i];
  const auto [least, most] = std::minmax_element(load.begin(), load.end());
  EXPECT_LT(static_cast<double>(*most - *least), 0.05 * static_cast<double>(*most));
}

}  // namespace
}  // namespace setrl::learn
