// Completion text -> verdict. Pure functions of their arguments (no torch, no MPI, no clock), but for programs, which
// are run in a sandbox (program_grader.h), and external verifiers (external_grader.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "records/group.h"
#include "records/verdict.h"
#include "text/answer_grammar.h"

namespace setrl::verify {

// Which golds the answers match. Implementations per task.
class Grader {
 public:
  virtual ~Grader() = default;
  // Fills verdict.matched_gold [K] and verdict.correct [K] from verdict.answers (well formed).
  virtual void grade(const Problem& problem, Verdict& verdict) const = 0;
  // Several well-formed completions of one problem; a grader that works on many at a time overrides it.
  virtual void grade_all(const Problem& problem, const std::vector<Verdict*>& verdicts) const {
    for (auto* verdict : verdicts) grade(problem, *verdict);
  }
};

// By config.task.name; throws UserError for a task without a grader, and where programs cannot be run safely.
std::unique_ptr<Grader> make_grader(const RunConfig& config);

// The reward options with what `auto` stands for in this task: where every problem has one gold (hotpotqa, or
// task.true_pathology_only), golds exclude each other and confidence_sum = auto is at_most_one.
RewardSection reward_of(const RunConfig& config);

// Reward terms and total from a graded (or malformed) verdict; formulas in reward_terms.h and docs/rewards.md. A
// malformed text becomes Outcome::bad_format with total 0 and no correct answers; an infrastructure failure stays one,
// with total 0. The list of terms depends on the options only. Throws UserError on a bad reward option.
// `length_fraction`: completion tokens / rollout.max_new_tokens, for the overlong penalty.
void score(const RewardSection& reward, const text::Grammar& grammar, double length_fraction, Verdict& verdict);

// One completion as the verifier reads it.
struct CompletionText {
  std::string text;         // without its end-of-turn token
  bool ended = true;        // that token was there
  std::int64_t tokens = 0;  // with it
};

// Immutable once made; one instance serves any number of threads.
class Verifier {
 public:
  explicit Verifier(const RunConfig& config);
  // [texts] one verdict each, in order.
  std::vector<Verdict> verify_all(const Problem& problem, const std::vector<CompletionText>& texts) const;
  // `text`: the completion without its end-of-turn token; `ended`: that token was there.
  Verdict verify(const Problem& problem, const std::string& text, bool ended, std::int64_t tokens) const;

 private:
  RewardSection reward_;
  double max_new_tokens_;
  text::Grammar grammar_;
  std::unique_ptr<Grader> grader_;
};

}  // namespace setrl::verify
