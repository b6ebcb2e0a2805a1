// Graded verdicts without texts, for the tests of the reward.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"
#include "verify/verifier.h"

namespace setrl::verify::testing {

// An abstention is a -1 in `outcomes`, a right answer 1, a wrong one 0.
inline Verdict graded(const std::vector<int>& outcomes, const std::vector<double>& confidences) {
  Verdict verdict;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    verdict.answers.answers.push_back("answer " + std::to_string(i));
    verdict.correct.push_back(outcomes[i] == 1);
    verdict.matched_gold.push_back(outcomes[i] == 1   ? static_cast<std::int32_t>(i)
                                   : outcomes[i] == 0 ? -1
                                                      : kAbstained);
  }
  verdict.answers.confidences = confidences;
  return verdict;
}

inline double total_of(const RewardSection& reward, const std::vector<int>& outcomes,
                       const std::vector<double>& confidences, double length_fraction = 0.5) {
  text::Grammar grammar;
  grammar.k = static_cast<int>(outcomes.size());
  grammar.confidences = reward.kind == "rlcr";
  grammar.abstention = reward.abstention;
  Verdict verdict = graded(outcomes, grammar.confidences ? confidences : std::vector<double>{});
  score(reward, grammar, length_fraction, verdict);
  return verdict.total;
}

// A random joint distribution of K right/wrong flags: weight of each of the 2^K patterns, summing to 1.
inline std::vector<double> random_joint(int k, RandomStream& random) {
  std::vector<double> joint(std::size_t{1} << k);
  double sum = 0;
  for (auto& weight : joint) sum += weight = random.uniform() * random.uniform();
  for (auto& weight : joint) weight /= sum;
  return joint;
}

inline std::vector<int> pattern_of(std::size_t pattern, int k) {
  std::vector<int> outcomes;
  for (int i = 0; i < k; ++i) outcomes.push_back((pattern >> i) & 1);
  return outcomes;
}

inline std::vector<double> marginals_of(const std::vector<double>& joint, int k) {
  std::vector<double> marginals(static_cast<std::size_t>(k), 0);
  for (std::size_t pattern = 0; pattern < joint.size(); ++pattern) {
    for (int i = 0; i < k; ++i) marginals[static_cast<std::size_t>(i)] += ((pattern >> i) & 1) ? joint[pattern] : 0;
  }
  return marginals;
}

inline double expected_total(const RewardSection& reward, const std::vector<double>& joint, int k,
                             const std::vector<double>& confidences) {
  double expected = 0;
  for (std::size_t pattern = 0; pattern < joint.size(); ++pattern) {
    expected += joint[pattern] * total_of(reward, pattern_of(pattern, k), confidences);
  }
  return expected;
}

// The confidences in [0,1]^K that maximise the expected reward, found without its formula: golden-section search along
// one coordinate after the other. The reward must be concave in the confidences.
inline std::vector<double> best_confidences(const RewardSection& reward, const std::vector<double>& joint, int k,
                                            int sweeps) {
  std::vector<double> q(static_cast<std::size_t>(k), 0.5);
  const double golden = 0.6180339887498949;
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    for (auto& coordinate : q) {
      const auto value_at = [&](double x) {
        coordinate = x;
        return expected_total(reward, joint, k, q);
      };
      double low = 0, high = 1;
      for (int step = 0; step < 36; ++step) {
        const double left = high - golden * (high - low), right = low + golden * (high - low);
        (value_at(left) < value_at(right) ? low : high) = value_at(left) < value_at(right) ? left : right;
      }
      coordinate = (low + high) / 2;
    }
  }
  return q;
}

}  // namespace setrl::verify::testing
