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
  EXPECT_THAT(advantages("mean", rewards, 2), ElementsAre(0, -1, -1, 2));
  const double s = std::sqrt(1.5);
  EXPECT_THAT(advantages("mean_std", rewards, 2),
              Pointwise(DoubleNear(1e-5), std::vector<double>{0, -1 / s, -1 / s, 2 / s}));
  EXPECT_THAT(advantages("maxrl", rewards, 2), Pointwise(DoubleNear(1e-5), std::vector<double>{0, -1, -1, 2}));
  EXPECT_THROW(advantages("median", rewards, 2), UserError);
}

TEST(Advantages, AreZeroWithoutASignal) {
  for (const char* kind : {"mean", "mean_std", "maxrl", "pass_at_k", "pkpo"}) {
    EXPECT_THAT(advantages(kind, {0.1, 0.1, 0.1}, 2), ElementsAre(0, 0, 0)) << kind;
    EXPECT_THAT(advantages(kind, {0, 0}, 2), ElementsAre(0, 0)) << kind;
    EXPECT_TRUE(advantages(kind, {}, 2).empty());
  }
}

// Every subset of k of n, by its bits.
template <typename Body>
void for_each_subset(std::size_t n, int k, const Body& body) {
  for (unsigned bits = 0; bits < (1u << n); ++bits) {
    if (__builtin_popcount(bits) == k) body(bits);
  }
}

double best_of(const std::vector<double>& rewards, unsigned bits) {
  double best = -1e300;
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    if ((bits >> i & 1u) != 0) best = std::max(best, rewards[i]);
  }
  return best;
}

// By the definitions, subset by subset.
std::vector<double> enumerated(const std::string& kind, const std::vector<double>& rewards, int k) {
  std::vector<double> result;
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    double with = 0, with_count = 0, without = 0, without_count = 0;
    for_each_subset(rewards.size(), k, [&](unsigned bits) {
      const unsigned self = 1u << i;
      if ((bits & self) == 0) {
        if (kind == "pass_at_k") without += best_of(rewards, bits), ++without_count;
        return;
      }
      with += best_of(rewards, bits), ++with_count;
      if (kind == "pkpo") without += best_of(rewards, bits & ~self), ++without_count;
    });
    result.push_back(k * (with / with_count - without / without_count));
  }
  return result;
}

TEST(SubsetAdvantages, EqualEnumeration) {
  const std::vector<std::vector<double>> groups{{1, 0, 0}, {0, 1, 0, 1, 0, 0, 0, 1}, {0.5, -1, 3, 0.5, 2, 2, 7, -4, 1}};
  for (const char* kind : {"pass_at_k", "pkpo"}) {
    for (const auto& rewards : groups) {
      for (int k = 2; k < static_cast<int>(rewards.size()); ++k) {
        EXPECT_THAT(advantages(kind, rewards, k), Pointwise(DoubleNear(1e-9), enumerated(kind, rewards, k)))
            << kind << " " << k << " of " << rewards.size();
      }
    }
  }
}

// The mean over the group of advantage * score is an unbiased estimate of the gradient of pass@k. A policy that is
// right with probability p has pass@k = 1 - (1 - p)^k; the score of a completion is 1/p or -1/(1 - p).
TEST(SubsetAdvantages, EstimateTheGradientOfPassAtK) {
  constexpr double p = 0.3;
  constexpr int n = 7, k = 3;
  for (const char* kind : {"pass_at_k", "pkpo"}) {
    double gradient = 0;
    for (unsigned bits = 0; bits < (1u << n); ++bits) {
      std::vector<double> rewards;
      double probability = 1;
      for (int i = 0; i < n; ++i) {
        rewards.push_back(bits >> i & 1u);
        probability *= rewards.back() > 0 ? p : 1 - p;
      }
      const auto values = advantages(kind, rewards, k);
      for (std::size_t i = 0; i < values.size(); ++i) {
        gradient += probability * values[i] * (rewards[i] > 0 ? 1 / p : -1 / (1 - p)) / n;
      }
    }
    EXPECT_NEAR(gradient, k * std::pow(1 - p, k - 1), 1e-12) << kind;
  }
}

TEST(SubsetAdvantages, ManageWithFewOrManyCompletions) {
  for (const char* kind : {"pass_at_k", "pkpo"}) {
    EXPECT_THAT(advantages(kind, {3}, 4), ElementsAre(0)) << kind;
    EXPECT_THAT(advantages(kind, {3, 1}, 4), ElementsAre(2, -2)) << kind;
    EXPECT_THAT(advantages(kind, {3, 1, 0}, 4), Pointwise(DoubleNear(1e-12), enumerated(kind, {3, 1, 0}, 2))) << kind;
    std::vector<double> many(4096, 0.0);
    many[7] = 1;
    const auto values = advantages(kind, many, 2000);
    EXPECT_NEAR(values[7], 2000, 1e-6) << kind;
    EXPECT_NEAR(values[8], kind == std::string("pkpo") ? 0 : 2000 * (1999. / 4095 - 2000. / 4095), 1e-9) << kind;
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
