// Completion text -> verdict. Pure functions of their arguments: no torch, no MPI, no clock.
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
};

std::unique_ptr<Grader> make_grader(const RunConfig& config);

// Reward terms and total from a graded (or malformed) verdict; formulas in REWARDS.md "Rewards".
// `length_fraction`: completion tokens / rollout.max_new_tokens, for the overlong penalty.
void score(const RewardSection& reward, const text::Grammar& grammar, double length_fraction, Verdict& verdict);

class Verifier {
 public:
  explicit Verifier(const RunConfig& config);
  // `text`: the completion without its end-of-turn token; `ended`: that token was there.
  Verdict verify(const Problem& problem, const std::string& text, bool ended, std::int64_t tokens) const;

 private:
  RunConfig config_;
  text::Grammar grammar_;
  std::unique_ptr<Grader> grader_;
};

}  // namespace setrl::verify
