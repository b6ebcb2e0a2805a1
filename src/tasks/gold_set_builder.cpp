#include "tasks/gold_set_builder.h"

#include <algorithm>

#include "text/answer_grammar.h"

namespace setrl::tasks {

namespace {
constexpr double kFillerConfidence = 0.02;
}  // namespace

void GoldSetBuilder::add(const std::string& answer, double confidence) {
  const std::string name = text::normalise(answer);
  if (!full() && !name.empty() && names_.insert(name).second) entries_.emplace_back(answer, confidence);
}

void GoldSetBuilder::forbid(const std::string& answer) {
  names_.insert(text::normalise(answer));
}

void GoldSetBuilder::add_abstentions() {
  while (!full()) entries_.emplace_back("none", 0.0);
}

double GoldSetBuilder::filler_confidence() const {
  double confidence = kFillerConfidence;
  for (const auto& entry : entries_) confidence = std::min(confidence, entry.second / 2);
  return confidence;
}

void GoldSetBuilder::finish(AnswerSet& set, bool confidences) {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const auto& left, const auto& right) { return left.second > right.second; });
  for (const auto& [answer, confidence] : entries_) {
    set.answers.push_back(answer);
    if (confidences) set.confidences.push_back(std::clamp(confidence, 0.0, 1.0));
  }
}

}  // namespace setrl::tasks
