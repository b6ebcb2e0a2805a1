#include "evaluate/aggregate.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "evaluate/observations.h"

namespace setrl::evaluate {

namespace {

// One answer over all completions of a problem.
struct Candidate {
  std::size_t order = 0;  // of its first occurrence
  std::string answer;
  std::int32_t gold = -1;
  ProgramTrace program;
  bool correct = false;
  double f1 = 0;
  std::int64_t votes = 0;
  double confidence_sum = 0;
  double best = -std::numeric_limits<double>::infinity();  // confidence, or mean log-probability
};

double mean_logprob(const Completion& completion) {
  if (completion.logprobs.empty()) return -std::numeric_limits<double>::infinity();
  return std::accumulate(completion.logprobs.begin(), completion.logprobs.end(), 0.0) /
         static_cast<double>(completion.logprobs.size());
}

void add_completion(const Completion& completion, const Verdict& verdict,
                    std::map<std::string, Candidate>& candidates) {
  std::set<std::string> here;
  for (std::size_t slot = 0; slot < verdict.correct.size(); ++slot) {
    const bool abstained = verdict.matched_gold[slot] == kAbstained;
    const std::string identity = abstained ? "abstained" : identity_of(verdict, slot);
    const auto [place, is_new] = candidates.emplace(identity, Candidate{});
    Candidate& candidate = place->second;
    if (is_new) {
      candidate.order = candidates.size();
      candidate.answer = verdict.answers.answers[slot];
      candidate.gold = verdict.matched_gold[slot];
      if (!verdict.programs.empty()) candidate.program = verdict.programs[slot];
      if (!verdict.f1.empty()) candidate.f1 = verdict.f1[slot];
    }
    const auto& confidences = verdict.answers.confidences;
    candidate.correct = candidate.correct || verdict.correct[slot] != 0;
    candidate.votes += here.insert(identity).second ? 1 : 0;
    candidate.confidence_sum += confidences.empty() ? 0 : confidences[slot];
    candidate.best = std::max(candidate.best, confidences.empty() ? mean_logprob(completion) : confidences[slot]);
  }
}

Verdict chosen(std::map<std::string, Candidate>& candidates, std::int64_t completions, bool calibrated, bool f1,
               bool programs, Aggregation kind, int k) {
  std::vector<Candidate> ranked;
  for (auto& entry : candidates) ranked.push_back(std::move(entry.second));
  std::sort(ranked.begin(), ranked.end(), [](const Candidate& a, const Candidate& b) { return a.order < b.order; });
  std::stable_sort(ranked.begin(), ranked.end(), [kind](const Candidate& a, const Candidate& b) {
    if (kind == Aggregation::best_of_n) return a.best > b.best;
    return a.votes != b.votes ? a.votes > b.votes : a.confidence_sum > b.confidence_sum;
  });
  if (ranked.size() > static_cast<std::size_t>(k)) ranked.resize(static_cast<std::size_t>(k));
  Verdict verdict;
  verdict.total = std::numeric_limits<double>::quiet_NaN();
  for (const auto& candidate : ranked) {
    verdict.answers.answers.push_back(candidate.answer);
    verdict.correct.push_back(candidate.correct ? 1 : 0);
    verdict.matched_gold.push_back(candidate.gold);
    if (programs) verdict.programs.push_back(candidate.program);
    if (f1) verdict.f1.push_back(candidate.f1);
    if (kind == Aggregation::self_consistency) {
      verdict.answers.confidences.push_back(static_cast<double>(candidate.votes) / static_cast<double>(completions));
    } else if (calibrated) {
      verdict.answers.confidences.push_back(candidate.best);
    }
  }
  return verdict;
}

Group aggregate(const Group& group, Aggregation kind, int k) {
  Group result = group;
  result.completions.resize(1);
  result.completions[0] = Completion{};
  result.completions[0].problem_id = group.problem.id;
  result.completions[0].finish = FinishReason::end_of_turn;
  std::map<std::string, Candidate> candidates;
  std::int64_t completions = 0;
  bool calibrated = true, f1 = false, programs = false;
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < group.verdicts.size(); ++i) {
    const Verdict& verdict = group.verdicts[i];
    if (!counts(verdict)) continue;
    ++completions;
    tokens += group.completions[i].tokens.size();
    if (verdict.outcome != Outcome::graded) continue;
    calibrated = calibrated && !verdict.answers.confidences.empty();
    f1 = f1 || !verdict.f1.empty();
    programs = programs || !verdict.programs.empty();
    add_completion(group.completions[i], verdict, candidates);
  }
  result.completions[0].tokens.assign(tokens, 0);
  Verdict verdict;
  if (completions == 0) {
    verdict.outcome = Outcome::infrastructure_failure;
  } else if (candidates.empty()) {
    verdict.outcome = Outcome::bad_format;
    verdict.total = std::numeric_limits<double>::quiet_NaN();
    verdict.answers.malformed_reason = "none of the completions is well formed";
  } else {
    verdict = chosen(candidates, completions, calibrated, f1, programs, kind, k);
  }
  result.verdicts = {verdict};
  return result;
}

}  // namespace

std::vector<Group> aggregate(const std::vector<Group>& groups, Aggregation kind, int k) {
  std::vector<Group> result;
  for (const auto& group : groups) result.push_back(aggregate(group, kind, k));
  return result;
}

}  // namespace setrl::evaluate
