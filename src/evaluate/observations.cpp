#include "evaluate/observations.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "base/error.h"

namespace setrl::evaluate {

namespace {

bool is_ascii_space(unsigned char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool is_ascii_punctuation(unsigned char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

std::string folded(const std::string& answer) {
  std::string result;
  for (const char c : answer) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_ascii_space(byte)) {
      if (!result.empty() && result.back() != ' ') result += ' ';
    } else if (byte >= 'A' && byte <= 'Z') {
      result += static_cast<char>(byte + ('a' - 'A'));
    } else if (!is_ascii_punctuation(byte)) {
      result += c;
    }
  }
  if (!result.empty() && result.back() == ' ') result.pop_back();
  return result;
}

std::string identity_of_gold(std::int32_t gold) {
  return "gold/" + std::to_string(gold);
}

}  // namespace

std::vector<std::size_t> ranked_answers(const Verdict& verdict) {
  std::vector<std::size_t> slots;
  if (verdict.outcome != Outcome::graded) return slots;
  SETRL_CHECK(verdict.matched_gold.size() == verdict.correct.size(), "{} matches and {} flags",
              verdict.matched_gold.size(), verdict.correct.size());
  for (std::size_t i = 0; i < verdict.correct.size(); ++i) {
    if (verdict.matched_gold[i] != kAbstained) slots.push_back(i);
  }
  const auto& confidences = verdict.answers.confidences;
  if (!confidences.empty()) {
    SETRL_CHECK(confidences.size() == verdict.correct.size(), "{} confidences and {} flags", confidences.size(),
                verdict.correct.size());
    std::stable_sort(slots.begin(), slots.end(),
                     [&](std::size_t a, std::size_t b) { return confidences[a] > confidences[b]; });
  }
  return slots;
}

void append_pairs(const Verdict& verdict, ConfidencePairs& pairs) {
  if (verdict.answers.confidences.empty()) return;
  for (const auto slot : ranked_answers(verdict)) {
    pairs.confidences.push_back(verdict.answers.confidences[slot]);
    pairs.correct.push_back(verdict.correct[slot] != 0);
  }
}

double confidence_sum(const Verdict& verdict) {
  double sum = 0;
  for (const auto slot : ranked_answers(verdict)) sum += verdict.answers.confidences[slot];
  return sum;
}

std::string identity_of(const Verdict& verdict, std::size_t slot) {
  if (slot < verdict.programs.size() && verdict.programs[slot].tree != 0) {
    return fmt::format("program/{:016x}", verdict.programs[slot].tree);
  }
  const auto gold = verdict.matched_gold[slot];
  return gold >= 0 ? identity_of_gold(gold) : "text/" + folded(verdict.answers.answers[slot]);
}

std::int64_t count_behaviours(const Group& group) {
  std::set<std::uint64_t> behaviours;
  for (const auto& verdict : group.verdicts) {
    if (verdict.outcome != Outcome::graded) continue;
    for (const auto& program : verdict.programs) {
      if (program.behaviour != 0) behaviours.insert(program.behaviour);
    }
  }
  return static_cast<std::int64_t>(behaviours.size());
}

std::map<std::string, std::int64_t> finds_of_golds(const Group& group) {
  std::map<std::string, std::int64_t> finds;
  for (const auto& verdict : group.verdicts) {
    if (verdict.outcome != Outcome::graded) continue;
    for (std::size_t i = 0; i < verdict.correct.size(); ++i) {
      if (verdict.correct[i] != 0) ++finds[identity_of(verdict, i)];
    }
  }
  return finds;
}

std::int64_t count_listed(const Group& group, const std::map<std::string, std::int64_t>& finds) {
  std::int64_t count = 0;
  for (std::size_t gold = 0; gold < group.problem.golds.size(); ++gold) {
    count += static_cast<std::int64_t>(finds.count(identity_of_gold(static_cast<std::int32_t>(gold))));
  }
  return count;
}

std::map<std::string, std::int64_t> occurrences_of_answers(const Group& group) {
  std::map<std::string, std::int64_t> occurrences;
  for (const auto& verdict : group.verdicts) {
    std::set<std::string> here;
    for (const auto slot : ranked_answers(verdict)) here.insert(identity_of(verdict, slot));
    for (const auto& identity : here) ++occurrences[identity];
  }
  return occurrences;
}

}  // namespace setrl::evaluate
