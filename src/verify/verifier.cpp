#include "verify/verifier.h"

#include "base/error.h"
#include "verify/reward_terms.h"
#include "verify/set_grader.h"

namespace setrl::verify {

std::unique_ptr<Grader> make_grader(const RunConfig& config) {
  const std::string& name = config.task.name;
  if (name == "demo" || name == "ddxplus" || name == "hotpotqa") {
    return std::make_unique<SetGrader>(config.reward.abstention);
  }
  throw_user_error("task.name = {}: no grader for this task; choose demo, ddxplus or hotpotqa", name);
}

Verifier::Verifier(const RunConfig& config)
    : config_(config), grammar_(text::grammar_of(config)), grader_(make_grader(config)) {
  resolve(config.reward);  // a bad reward option is reported before the first completion
}

Verdict Verifier::verify(const Problem& problem, const std::string& text, bool ended, std::int64_t tokens) const {
  Verdict verdict;
  verdict.answers = text::parse(grammar_, text, ended);
  if (verdict.answers.well_formed()) grader_->grade(problem, verdict);
  score(config_.reward, grammar_, static_cast<double>(tokens) / config_.rollout.max_new_tokens, verdict);
  return verdict;
}

}  // namespace setrl::verify
