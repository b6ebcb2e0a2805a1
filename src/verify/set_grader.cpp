#include "verify/set_grader.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "base/error.h"

namespace setrl::verify {

namespace {

constexpr std::int32_t kUnassigned = -1;

// Maximum matching of answers to golds by augmenting paths (Kuhn's algorithm). Sets are small: K answers, few golds.
class Assignment {
 public:
  Assignment(const std::vector<std::vector<std::int32_t>>& candidates, std::size_t golds)
      : candidates_(candidates), answer_of_gold_(golds, kUnassigned), gold_of_answer_(candidates.size(), kUnassigned) {
    for (std::size_t answer = 0; answer < candidates.size(); ++answer) {
      std::vector<bool> visited(golds, false);
      augment(static_cast<std::int32_t>(answer), visited);
    }
  }
  std::int32_t gold(std::size_t answer) const { return gold_of_answer_[answer]; }

 private:
  // An answer that once has a gold keeps having one: a later answer can only move it to another, and does so only where
  // no gold that fits is free.
  bool augment(std::int32_t answer, std::vector<bool>& visited) {
    const auto& golds = candidates_[static_cast<std::size_t>(answer)];
    for (const auto gold : golds) {
      if (answer_of_gold_[static_cast<std::size_t>(gold)] == kUnassigned) return assign(answer, gold);
    }
    for (const auto gold : golds) {
      if (visited[static_cast<std::size_t>(gold)]) continue;
      visited[static_cast<std::size_t>(gold)] = true;
      if (augment(answer_of_gold_[static_cast<std::size_t>(gold)], visited)) return assign(answer, gold);
    }
    return false;
  }

  bool assign(std::int32_t answer, std::int32_t gold) {
    answer_of_gold_[static_cast<std::size_t>(gold)] = answer;
    gold_of_answer_[static_cast<std::size_t>(answer)] = gold;
    return true;
  }

  const std::vector<std::vector<std::int32_t>>& candidates_;
  std::vector<std::int32_t> answer_of_gold_;
  std::vector<std::int32_t> gold_of_answer_;
};

// Normalised spelling -> golds that have it, ascending and without repetition.
std::unordered_map<std::string, std::vector<std::int32_t>> spellings_of(const Problem& problem) {
  std::unordered_map<std::string, std::vector<std::int32_t>> spellings;
  for (std::size_t i = 0; i < problem.golds.size(); ++i) {
    const auto gold = static_cast<std::int32_t>(i);
    const auto add = [&](const std::string& spelling) {
      auto& golds = spellings[text::normalise(spelling)];
      if (golds.empty() || golds.back() != gold) golds.push_back(gold);
    };
    add(problem.golds[i].text);
    for (const auto& alias : problem.golds[i].aliases) add(alias);
  }
  return spellings;
}

std::map<std::string, int> bag_of_words(const std::string& normalised) {
  std::map<std::string, int> bag;
  std::istringstream stream(normalised);
  for (std::string word; stream >> word;) ++bag[word];
  return bag;
}

double best_f1(const std::string& answer, const Problem& problem) {
  double best = 0;
  for (const auto& gold : problem.golds) {
    best = std::max(best, word_f1(answer, gold.text));
    for (const auto& alias : gold.aliases) best = std::max(best, word_f1(answer, alias));
  }
  return best;
}

}  // namespace

double word_f1(const std::string& answer, const std::string& gold) {
  const std::string left = text::normalise(answer), right = text::normalise(gold);
  for (const char* word : {"yes", "no"}) {
    if (left != right && (left == word || right == word)) return 0;
  }
  const auto words = bag_of_words(left), wanted = bag_of_words(right);
  double size = 0, common = 0;
  for (const auto& [word, count] : words) {
    size += count;
    const auto found = wanted.find(word);
    if (found != wanted.end()) common += std::min(count, found->second);
  }
  for (const auto& [word, count] : wanted) size += count;
  return size == 0 ? 0 : 2 * common / size;
}

void SetGrader::grade(const Problem& problem, Verdict& verdict) const {
  SETRL_CHECK(verdict.answers.well_formed(), "a malformed text was given to the grader");
  const auto spellings = spellings_of(problem);
  const std::size_t k = verdict.answers.answers.size();
  std::vector<std::vector<std::int32_t>> candidates(k);
  verdict.correct.assign(k, 0);
  verdict.matched_gold.assign(k, -1);
  for (std::size_t i = 0; i < k; ++i) {
    const std::string answer = text::normalise(verdict.answers.answers[i]);
    const auto found = spellings.find(answer);
    if (found != spellings.end()) {
      candidates[i] = found->second;
    } else if (abstention_ && answer == "none") {
      verdict.matched_gold[i] = kAbstained;
    }
  }
  const Assignment assignment(candidates, problem.golds.size());
  for (std::size_t i = 0; i < k; ++i) {
    if (candidates[i].empty()) continue;
    verdict.correct[i] = assignment.gold(i) != kUnassigned;
    verdict.matched_gold[i] = verdict.correct[i] ? assignment.gold(i) : candidates[i].front();
  }
  if (!f1_) return;
  for (const auto& answer : verdict.answers.answers) verdict.f1.push_back(best_f1(answer, problem));
}

}  // namespace setrl::verify
