#include "verify/reward_terms.h"

#include <algorithm>

#include "base/error.h"

namespace setrl::verify {

std::vector<Slot> slots_of(const Verdict& verdict) {
  const std::size_t k = verdict.answers.answers.size();
  const auto& confidences = verdict.answers.confidences;
  SETRL_CHECK(verdict.correct.size() == k && verdict.matched_gold.size() == k,
              "{} answers, but {} flags and {} matches: grade first", k, verdict.correct.size(),
              verdict.matched_gold.size());
  SETRL_CHECK(confidences.empty() || confidences.size() == k, "{} answers, but {} confidences", k, confidences.size());
  std::vector<Slot> slots(k);
  for (std::size_t i = 0; i < k; ++i) {
    slots[i].confidence = confidences.empty() ? 0 : confidences[i];
    slots[i].correct = verdict.correct[i] != 0;
    slots[i].abstained = verdict.matched_gold[i] == kAbstained;
  }
  return slots;
}

RewardRule resolve(const RewardSection& reward) {
  RewardRule rule;
  if (reward.kind != "rlcr" && reward.kind != "rlvr") {
    throw_user_error("reward.kind = {}: expected rlvr or rlcr", reward.kind);
  }
  rule.calibrated = reward.kind == "rlcr";
  if (reward.preset != "paper" && reward.preset != "released") {
    throw_user_error("reward.preset = {}: expected paper or released", reward.preset);
  }
  const bool released = reward.preset == "released";
  if (reward.correctness == "auto") {
    rule.correctness = released ? Correctness::any : Correctness::sum;
  } else if (reward.correctness == "sum") {
    rule.correctness = Correctness::sum;
  } else if (reward.correctness == "mean") {
    rule.correctness = Correctness::mean;
  } else if (reward.correctness == "any") {
    rule.correctness = Correctness::any;
  } else {
    throw_user_error("reward.correctness = {}: expected auto, sum, mean or any", reward.correctness);
  }
  if (reward.confidence_sum == "auto") {
    rule.at_most_one = released;
  } else if (reward.confidence_sum == "free" || reward.confidence_sum == "at_most_one") {
    rule.at_most_one = reward.confidence_sum == "at_most_one";
  } else {
    throw_user_error("reward.confidence_sum = {}: expected auto, free or at_most_one", reward.confidence_sum);
  }
  return rule;
}

double set_correctness(Correctness correctness, const std::vector<Slot>& slots) {
  const auto right = std::count_if(slots.begin(), slots.end(), [](const Slot& slot) { return slot.correct; });
  switch (correctness) {
    case Correctness::sum: return static_cast<double>(right);
    case Correctness::mean: return static_cast<double>(right) / static_cast<double>(slots.size());
    case Correctness::any: return right > 0 ? 1 : 0;
  }
  return 0;
}

double multi_brier(const std::vector<Slot>& slots, double wrong_penalty) {
  const double threshold = answer_threshold(wrong_penalty);
  double sum = 0;
  for (const auto& slot : slots) {
    const double error = slot.confidence - (slot.correct ? 1 : 0);
    sum += slot.abstained ? threshold * (1 - threshold) : error * error;
  }
  return sum / static_cast<double>(slots.size());
}

double confidence_sum(const std::vector<Slot>& slots) {
  double sum = 0;
  for (const auto& slot : slots) sum += slot.abstained ? 0 : slot.confidence;
  return sum;
}

double count_error(const std::vector<Slot>& slots) {
  const double k = static_cast<double>(slots.size());
  const double error = (confidence_sum(slots) - set_correctness(Correctness::sum, slots)) / k;
  return error * error;
}

double set_wrongness(Correctness correctness, const std::vector<Slot>& slots) {
  const auto wrong =
      std::count_if(slots.begin(), slots.end(), [](const Slot& slot) { return !slot.correct && !slot.abstained; });
  switch (correctness) {
    case Correctness::sum: return static_cast<double>(wrong);
    case Correctness::mean: return static_cast<double>(wrong) / static_cast<double>(slots.size());
    case Correctness::any: return wrong > 0 && set_correctness(Correctness::any, slots) == 0 ? 1 : 0;
  }
  return 0;
}

double answer_threshold(double wrong_penalty) {
  return wrong_penalty / (1 + wrong_penalty);
}

double overlong(double length_fraction, double soft) {
  if (soft >= 1) return 0;
  return std::clamp((length_fraction - soft) / (1 - soft), 0.0, 1.0);
}

}  // namespace setrl::verify
