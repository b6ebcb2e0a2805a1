// What the reward makes a policy want: properness, thresholds, and the documented faults of the presets. All of it from
// score() as a black box.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "graded_sets.h"

namespace setrl::verify {
namespace {

using testing::best_confidences;
using testing::expected_total;
using testing::marginals_of;
using testing::random_joint;
using testing::total_of;

TEST(MultiBrier, IsProper) {
  RandomStream random(1, 0);
  for (int trial = 0; trial < 40; ++trial) {
    const int k = 1 + static_cast<int>(random.below(4));
    const auto joint = random_joint(k, random);
    const auto truth = marginals_of(joint, k);
    const auto best = best_confidences(RewardSection{}, joint, k, 1);  // separable: one sweep
    for (std::size_t i = 0; i < truth.size(); ++i) EXPECT_NEAR(best[i], truth[i], 1e-5) << "trial " << trial;
  }
}

TEST(MultiBrier, WithTheCountTermIsStillProper) {
  RewardSection reward;
  reward.count_weight = 1;
  RandomStream random(2, 0);
  for (int trial = 0; trial < 10; ++trial) {
    const int k = 2 + static_cast<int>(random.below(2));
    const auto joint = random_joint(k, random);
    const auto truth = marginals_of(joint, k);
    const auto best = best_confidences(reward, joint, k, 25);
    for (std::size_t i = 0; i < truth.size(); ++i) EXPECT_NEAR(best[i], truth[i], 1e-4) << "trial " << trial;
  }
}

// Alone it fixes the sum only: at the expected number of right answers.
TEST(CountTerm, AloneFixesTheExpectedNumber) {
  RewardSection reward;
  reward.calibration_weight = 0;
  reward.count_weight = 1;
  RandomStream random(3, 0);
  for (int trial = 0; trial < 20; ++trial) {
    const int k = 2 + static_cast<int>(random.below(2));
    const auto joint = random_joint(k, random);
    const auto truth = marginals_of(joint, k);
    const auto best = best_confidences(reward, joint, k, 10);
    EXPECT_NEAR(std::accumulate(best.begin(), best.end(), 0.0), std::accumulate(truth.begin(), truth.end(), 0.0), 1e-4);
  }
}

TEST(CountTerm, PunishesAFixedSum) {
  RewardSection plain, counted;
  counted.count_weight = 0.5;
  const std::vector<double> one = {0.4, 0.3, 0.3};
  const double loss_if_one = total_of(plain, {1, 0, 0}, one) - total_of(counted, {1, 0, 0}, one);
  const double loss_if_all = total_of(plain, {1, 1, 1}, one) - total_of(counted, {1, 1, 1}, one);
  EXPECT_NEAR(loss_if_one, 0, 1e-12);
  EXPECT_NEAR(loss_if_all, 0.5 * 4 / 9, 1e-12);
}

// The sum-to-one bias: two answers that are both right with probability 0.9 cannot say so.
TEST(AtMostOne, IsImproperWhereGoldsDoNotExcludeEachOther) {
  const std::vector<double> joint = {0.01, 0.09, 0.09, 0.81};
  RewardSection free, limited;
  limited.confidence_sum = "at_most_one";
  EXPECT_GT(expected_total(free, joint, 2, {0.9, 0.9}), expected_total(free, joint, 2, {0.5, 0.5}));
  EXPECT_LT(expected_total(limited, joint, 2, {0.9, 0.9}), expected_total(limited, joint, 2, {0.5, 0.5}));
}

// And is harmless where they do: the marginals then sum to at most one.
TEST(AtMostOne, CostsNothingWhereGoldsExcludeEachOther) {
  const std::vector<double> joint = {0.2, 0.5, 0.3, 0};
  RewardSection free, limited;
  limited.confidence_sum = "at_most_one";
  EXPECT_DOUBLE_EQ(expected_total(free, joint, 2, {0.5, 0.3}), expected_total(limited, joint, 2, {0.5, 0.3}));
}

// Under `any`, a set whose first answer is surely right gains by junk in the other slots (q = 0, surely wrong) over a
// second answer that may well be right; under `sum` the second answer pays.
TEST(AnyCorrectness, PaysForJunk) {
  const std::vector<double> plausible = {0, 0.6, 0, 0.4};  // the second answer is right with probability 0.4
  const std::vector<double> junk = {0, 1, 0, 0};
  RewardSection any, sum;
  any.correctness = "any";
  sum.correctness = "sum";
  EXPECT_GT(expected_total(any, junk, 2, {1, 0}), expected_total(any, plausible, 2, {1, 0.4}));
  EXPECT_LT(expected_total(sum, junk, 2, {1, 0}), expected_total(sum, plausible, 2, {1, 0.4}));
}

// A random set: right, wrong and (where allowed) abstaining answers with random confidences.
struct RandomSet {
  std::vector<int> outcomes;
  std::vector<double> confidences;
};

RandomSet random_set(bool abstention, RandomStream& random) {
  RandomSet set;
  const auto k = 1 + random.below(5);
  for (std::uint64_t i = 0; i < k; ++i) {
    set.outcomes.push_back(static_cast<int>(random.below(abstention ? 3 : 2)) - (abstention ? 1 : 0));
    set.confidences.push_back(static_cast<double>(random.below(101)) / 100);
  }
  return set;
}

// A preset is nothing but the values that it stands for.
TEST(Presets, AreWhatTheirOptionsSay) {
  RandomStream random(5, 0);
  for (int trial = 0; trial < 500; ++trial) {
    const auto [outcomes, confidences] = random_set(false, random);
    RewardSection paper, released, sum_free, any_limited;
    released.preset = "released";
    sum_free.preset = "released";
    sum_free.correctness = "sum";
    sum_free.confidence_sum = "free";
    any_limited.correctness = "any";
    any_limited.confidence_sum = "at_most_one";
    EXPECT_EQ(total_of(paper, outcomes, confidences), total_of(sum_free, outcomes, confidences));
    EXPECT_EQ(total_of(released, outcomes, confidences), total_of(any_limited, outcomes, confidences));
  }
}

// Of two sets that differ in one answer, the one where it is right is worth more under sum and mean, never less under
// any; and sum = K mean, any = min(1, sum).
TEST(Correctness, ARightAnswerNeverCosts) {
  RandomStream random(6, 0);
  for (int trial = 0; trial < 500; ++trial) {
    auto [outcomes, confidences] = random_set(false, random);
    RewardSection sum, mean, any;
    for (auto* reward : {&sum, &mean, &any}) reward->kind = "rlvr";
    mean.correctness = "mean";
    any.correctness = "any";
    sum.format_weight = mean.format_weight = any.format_weight = 0;
    const auto values = [&] {
      return std::vector<double>{total_of(sum, outcomes, {}), total_of(mean, outcomes, {}),
                                 total_of(any, outcomes, {})};
    };
    const std::size_t changed = random.below(outcomes.size());
    outcomes[changed] = 0;
    const auto wrong = values();
    outcomes[changed] = 1;
    const auto right = values();
    EXPECT_GT(right[0], wrong[0]);
    EXPECT_GT(right[1], wrong[1]);
    EXPECT_GE(right[2], wrong[2]);
    EXPECT_NEAR(right[0], static_cast<double>(outcomes.size()) * right[1], 1e-12);
    EXPECT_NEAR(right[2], std::min(0.5, right[0]), 1e-12);
  }
}

// The length penalty never rises with brevity, never exceeds its weight, and does not change which of two sets of equal
// length is better, so that Multi-Brier stays proper beside it.
TEST(LengthPenalty, IsMonotoneAndKeepsPreferences) {
  RandomStream random(7, 0);
  for (int trial = 0; trial < 500; ++trial) {
    RewardSection plain, penalised;
    penalised.length_weight = random.uniform();
    penalised.length_soft = static_cast<double>(random.below(11)) / 10;
    const auto [outcomes, confidences] = random_set(false, random);
    const double shorter = random.uniform() * 1.2, longer = shorter + random.uniform();
    const auto cost = [&, &right = outcomes, &q = confidences](double fraction) {
      return total_of(plain, right, q, fraction) - total_of(penalised, right, q, fraction);
    };
    EXPECT_LE(cost(shorter), cost(longer) + 1e-12);
    EXPECT_GE(cost(shorter), -1e-12);
    EXPECT_LE(cost(longer), penalised.length_weight + 1e-12);
    EXPECT_NEAR(cost(penalised.length_soft), 0, 1e-12);
    const auto other = random_set(false, random);
    const double gap =
        total_of(penalised, outcomes, confidences, 0.9) - total_of(penalised, other.outcomes, other.confidences, 0.9);
    EXPECT_NEAR(gap, total_of(plain, outcomes, confidences) - total_of(plain, other.outcomes, other.confidences),
                1e-12);
  }
}

// The reward is a weighted sum: with the weights, every difference between two sets scales; with abstention and a
// penalty as well.
TEST(Weights, ScaleTheWholeReward) {
  RandomStream random(8, 0);
  for (int trial = 0; trial < 300; ++trial) {
    RewardSection reward;
    reward.abstention = trial % 2 == 0;
    reward.wrong_penalty = random.uniform() * 2;
    reward.count_weight = random.uniform();
    const auto [outcomes, confidences] = random_set(reward.abstention, random);
    RewardSection doubled = reward;
    for (auto* weight :
         {&doubled.format_weight, &doubled.correct_weight, &doubled.calibration_weight, &doubled.count_weight}) {
      *weight *= 2;
    }
    EXPECT_NEAR(total_of(doubled, outcomes, confidences), 2 * total_of(reward, outcomes, confidences), 1e-12);
  }
}

struct ThresholdCase {
  const char* kind;
  const char* correctness;
  int k;
};

class AbstentionThreshold : public ::testing::TestWithParam<ThresholdCase> {};

// Answering (with the true probability as confidence) beats abstaining exactly above l / (1 + l), whatever the others
// are.
TEST_P(AbstentionThreshold, IsLOverOnePlusL) {
  RewardSection reward;
  reward.kind = GetParam().kind;
  reward.correctness = GetParam().correctness;
  reward.abstention = true;
  const auto k = static_cast<std::size_t>(GetParam().k);
  for (const double penalty : {0.25, 1.0, 3.0}) {
    reward.wrong_penalty = penalty;
    const double threshold = penalty / (1 + penalty);
    const auto gain = [&](double p) {
      std::vector<int> outcomes(k, 0);
      std::vector<double> confidences(k, 0.3);
      outcomes[0] = -1;
      const double abstained = total_of(reward, outcomes, confidences);
      confidences[0] = p;
      outcomes[0] = 1;
      const double right = total_of(reward, outcomes, confidences);
      outcomes[0] = 0;
      return p * right + (1 - p) * total_of(reward, outcomes, confidences) - abstained;
    };
    EXPECT_NEAR(gain(threshold), 0, 1e-12);
    for (const double distance : {0.01, 0.1, 0.2}) {
      EXPECT_GT(gain(threshold + distance), 0) << penalty;
      EXPECT_LT(gain(threshold - distance), 0) << penalty;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rewards, AbstentionThreshold,
                         ::testing::Values(ThresholdCase{"rlvr", "sum", 1}, ThresholdCase{"rlcr", "sum", 1},
                                           ThresholdCase{"rlvr", "sum", 3}, ThresholdCase{"rlcr", "sum", 3},
                                           ThresholdCase{"rlvr", "mean", 3}, ThresholdCase{"rlcr", "mean", 3},
                                           ThresholdCase{"rlvr", "any", 1}, ThresholdCase{"rlcr", "any", 1}));

// Without a penalty an answer that is right with any probability is worth more than an abstention.
TEST(Abstention, NeverPaysWithoutAPenalty) {
  RewardSection reward;
  reward.abstention = true;
  for (const double p : {0.01, 0.3, 0.9}) {
    EXPECT_GT(expected_total(reward, {1 - p, p}, 1, {p}), total_of(reward, {-1}, {0.5})) << p;
  }
}

// A large penalty makes wrong sets worth less than nothing; abstaining, not a broken format, must be the way out.
TEST(Abstention, IsWorthMoreThanAMalformedText) {
  RewardSection reward;
  reward.abstention = true;
  reward.wrong_penalty = 10;
  EXPECT_LT(total_of(reward, {0, 0, 0}, {0.5, 0.5, 0.5}), 0);
  EXPECT_GT(total_of(reward, {-1, -1, -1}, {0.5, 0.5, 0.5}), 0.5);
}

}  // namespace
}  // namespace setrl::verify
