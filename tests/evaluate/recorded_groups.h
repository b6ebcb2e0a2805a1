// Verified groups for the tests of this module.
#pragma once

#include <string>
#include <vector>

#include "base/random.h"
#include "records/group.h"

namespace setrl::evaluate::testing {

inline Verdict graded(std::vector<std::int32_t> matched, std::vector<std::uint8_t> correct,
                      std::vector<double> confidences, double reward = 0) {
  Verdict verdict;
  for (const auto gold : matched) verdict.answers.answers.push_back("answer " + std::to_string(gold));
  verdict.answers.confidences = std::move(confidences);
  verdict.matched_gold = std::move(matched);
  verdict.correct = std::move(correct);
  verdict.total = reward;
  return verdict;
}

inline Verdict malformed() {
  Verdict verdict;
  verdict.outcome = Outcome::bad_format;
  verdict.answers.malformed_reason = "no think block";
  return verdict;
}

inline Group group_of(int golds, std::vector<Verdict> verdicts, std::size_t tokens = 10) {
  Group group;
  for (int i = 0; i < golds; ++i) group.problem.golds.push_back({"gold " + std::to_string(i), {}, -1});
  for (auto& verdict : verdicts) {
    Completion completion;
    completion.tokens.assign(tokens, 1);
    completion.finish = FinishReason::end_of_turn;
    group.completions.push_back(completion);
    group.verdicts.push_back(std::move(verdict));
  }
  return group;
}

// Sets of three answers that are each right with their own confidence: calibrated on average.
inline std::vector<Group> random_groups(int problems, int completions, RandomStream& random) {
  std::vector<Group> groups;
  for (int p = 0; p < problems; ++p) {
    std::vector<Verdict> verdicts;
    for (int c = 0; c < completions; ++c) {
      std::vector<std::int32_t> matched;
      std::vector<std::uint8_t> correct;
      std::vector<double> confidences;
      for (int i = 0; i < 3; ++i) {
        confidences.push_back(random.uniform());
        correct.push_back(random.uniform() < confidences.back());
        matched.push_back(correct.back() ? i : -1);
      }
      const double reward = 0.5 + 0.5 * (correct[0] + correct[1] + correct[2]);
      verdicts.push_back(graded(matched, correct, confidences, reward));
    }
    groups.push_back(group_of(4, std::move(verdicts)));
  }
  return groups;
}

}  // namespace setrl::evaluate::testing
