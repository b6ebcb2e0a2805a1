#include "verify/verifier.h"

#include "base/error.h"
#include "verify/program_grader.h"
#include "verify/reward_terms.h"
#include "verify/set_grader.h"

namespace setrl::verify {

std::unique_ptr<Grader> make_grader(const RunConfig& config) {
  const std::string& name = config.task.name;
  if (name == "demo" || name == "ddxplus" || name == "hotpotqa") {
    return std::make_unique<SetGrader>(config.reward.abstention);
  }
  if (name == "mbpp") return std::make_unique<ProgramGrader>(config.verify, config.reward.abstention);
  throw_user_error("task.name = {}: no grader for this task; choose demo, ddxplus, hotpotqa or mbpp", name);
}

Verifier::Verifier(const RunConfig& config)
    : config_(config), grammar_(text::grammar_of(config)), grader_(make_grader(config)) {
  resolve(config.reward);  // a bad reward option is reported before the first completion
}

Verdict Verifier::verify(const Problem& problem, const std::string& text, bool ended, std::int64_t tokens) const {
  return verify_all(problem, {{text, ended, tokens}}).front();
}

std::vector<Verdict> Verifier::verify_all(const Problem& problem,
                                          const std::vector<CompletionText>& completions) const {
  std::vector<Verdict> verdicts(completions.size());
  std::vector<Verdict*> well_formed;
  for (std::size_t i = 0; i < completions.size(); ++i) {
    verdicts[i].answers = text::parse(grammar_, completions[i].text, completions[i].ended);
    if (verdicts[i].answers.well_formed()) well_formed.push_back(&verdicts[i]);
  }
  if (!well_formed.empty()) grader_->grade_all(problem, well_formed);
  for (std::size_t i = 0; i < completions.size(); ++i) {
    const double fraction = static_cast<double>(completions[i].tokens) / config_.rollout.max_new_tokens;
    score(config_.reward, grammar_, fraction, verdicts[i]);
  }
  return verdicts;
}

}  // namespace setrl::verify
