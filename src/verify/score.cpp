// Terms -> total. The order of the terms is fixed by the options alone, so that all completions of a run have the same.
#include <vector>

#include "base/error.h"
#include "verify/reward_terms.h"
#include "verify/verifier.h"

namespace setrl::verify {

namespace {

// Confidences are decimals: 0.1 + 0.2 + 0.7 must not count as more than one.
constexpr double kSumTolerance = 1e-9;

// RLVR: w_format F + w_correct C ([MA], set-level RLVR). RLCR adds w_calibration (1 - B) ([MA], set-level RLCR; the
// constant 1 keeps a well-formed wrong set above a malformed one). The other terms are not in [MA].
std::vector<RewardTerm> weighted_terms(const RewardSection& reward, const RewardRule& rule,
                                       const std::vector<Slot>& slots, double length_fraction) {
  const double penalty = reward.abstention ? reward.wrong_penalty : 0;
  std::vector<RewardTerm> terms;
  terms.push_back({"format", reward.format_weight});
  terms.push_back({"correct", reward.correct_weight * set_correctness(rule.correctness, slots)});
  if (rule.calibrated) {
    const bool lost = rule.at_most_one && confidence_sum(slots) > 1 + kSumTolerance;
    terms.push_back({"calibration", lost ? 0 : reward.calibration_weight * (1 - multi_brier(slots, penalty))});
    if (reward.count_weight != 0) terms.push_back({"count", -reward.count_weight * count_error(slots)});
  }
  if (reward.abstention) {
    terms.push_back({"abstention", -reward.correct_weight * penalty * set_wrongness(rule.correctness, slots)});
  }
  if (reward.length_weight != 0) {
    terms.push_back({"length", -reward.length_weight * overlong(length_fraction, reward.length_soft)});
  }
  return terms;
}

}  // namespace

void score(const RewardSection& reward, const text::Grammar& grammar, double length_fraction, Verdict& verdict) {
  const RewardRule rule = resolve(reward);
  const auto k = static_cast<std::size_t>(grammar.k);
  if (!verdict.answers.well_formed()) verdict.outcome = Outcome::bad_format;
  const bool graded = verdict.outcome == Outcome::graded;
  if (!graded) {
    verdict.correct.clear();
    verdict.matched_gold.clear();
  }
  const std::vector<Slot> slots = graded ? slots_of(verdict) : std::vector<Slot>(k);
  SETRL_CHECK(slots.size() == k, "a graded set of {} answers where the grammar asks for {}", slots.size(), k);
  SETRL_CHECK(!graded || verdict.answers.confidences.empty() != rule.calibrated, "reward.kind = {} with {} confidences",
              reward.kind, verdict.answers.confidences.size());
  verdict.terms = weighted_terms(reward, rule, slots, length_fraction);
  verdict.total = 0;
  for (auto& term : verdict.terms) {
    if (!graded) term.value = 0;
    verdict.total += term.value;
  }
}

}  // namespace setrl::verify
