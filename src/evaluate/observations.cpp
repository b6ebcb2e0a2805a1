#include "evaluate/observations.h"

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

namespace {

std::vector<std::int64_t> finds_of_programs(const Group& group) {
  std::map<std::uint64_t, std::int64_t> finds;
  for (const auto& verdict : group.verdicts) {
    if (verdict.outcome != Outcome::graded) continue;
    for (std::size_t i = 0; i < verdict.programs.size(); ++i) {
      if (verdict.correct[i] != 0) ++finds[verdict.programs[i].tree];
    }
  }
  std::vector<std::int64_t> counts;
  for (const auto& [tree, count] : finds) counts.push_back(count);
  return counts;
}

bool are_programs(const Group& group) {
  return std::any_of(group.verdicts.begin(), group.verdicts.end(),
                     [](const Verdict& verdict) { return !verdict.programs.empty(); });
}

}  // namespace

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

std::vector<std::int64_t> finds_of_golds(const Group& group) {
  if (group.problem.golds.empty() && are_programs(group)) return finds_of_programs(group);
  std::vector<std::int64_t> finds(group.problem.golds.size(), 0);
  for (const auto& verdict : group.verdicts) {
    if (verdict.outcome != Outcome::graded) continue;
    for (std::size_t i = 0; i < verdict.correct.size(); ++i) {
      if (verdict.correct[i] == 0) continue;
      const auto gold = verdict.matched_gold[i];
      SETRL_CHECK(gold >= 0 && static_cast<std::size_t>(gold) < finds.size(), "gold {} of {}", gold, finds.size());
      ++finds[static_cast<std::size_t>(gold)];
    }
  }
  return finds;
}

std::int64_t count_unique_answers(const Group& group) {
  std::set<std::int32_t> golds;
  std::set<std::uint64_t> trees;
  std::set<std::string> others;
  for (const auto& verdict : group.verdicts) {
    for (const auto slot : ranked_answers(verdict)) {
      const auto gold = verdict.matched_gold[slot];
      if (!verdict.programs.empty() && verdict.programs[slot].tree != 0) {
        trees.insert(verdict.programs[slot].tree);
      } else if (gold >= 0) {
        golds.insert(gold);
      } else {
        others.insert(folded(verdict.answers.answers[slot]));
      }
    }
  }
  return static_cast<std::int64_t>(golds.size() + trees.size() + others.size());
}

}  // namespace setrl::evaluate
