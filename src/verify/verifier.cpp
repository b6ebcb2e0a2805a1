#include "verify/verifier.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "verify/external_grader.h"
#include "verify/program_grader.h"
#include "verify/reward_terms.h"
#include "verify/set_grader.h"

namespace setrl::verify {

namespace {

// Each line of task jsonl names its grader.
class NamedGrader : public Grader {
 public:
  explicit NamedGrader(const RunConfig& config) : exact_(config.reward.abstention, false) {
    if (!config.verify.external.empty()) external_ = std::make_unique<ExternalGrader>(config);
    if (config.task.programs) programs_ = std::make_unique<ProgramGrader>(config.verify, config.reward.abstention);
  }
  void grade(const Problem& problem, Verdict& verdict) const override { grader_of(problem).grade(problem, verdict); }
  void grade_all(const Problem& problem, const std::vector<Verdict*>& verdicts) const override {
    grader_of(problem).grade_all(problem, verdicts);
  }

 private:
  const Grader& grader_of(const Problem& problem) const {
    const auto name = nlohmann::json::parse(problem.payload).at("grader").get<std::string>();
    if (name == "exact") return exact_;
    if (name == "tests" && programs_) return *programs_;
    SETRL_CHECK(name == "external", "problem {} names the grader {}", problem.id, name);
    if (!external_) {
      throw_user_error("problem {} has the grader \"external\": give the program's command as verify.external",
                       problem.id);
    }
    return *external_;
  }

  SetGrader exact_;
  std::unique_ptr<ExternalGrader> external_;
  std::unique_ptr<ProgramGrader> programs_;
};

}  // namespace

std::unique_ptr<Grader> make_grader(const RunConfig& config) {
  const std::string& name = config.task.name;
  if (name != "jsonl" && !config.verify.external.empty()) {
    throw_user_error("verify.external is for task jsonl; task.name = {} has its own grader", name);
  }
  if (name == "demo" || name == "ddxplus") return std::make_unique<SetGrader>(config.reward.abstention, false);
  if (name == "hotpotqa") return std::make_unique<SetGrader>(config.reward.abstention, true);
  if (name == "mbpp") return std::make_unique<ProgramGrader>(config.verify, config.reward.abstention);
  if (name == "jsonl") return std::make_unique<NamedGrader>(config);
  throw_user_error("task.name = {}: no grader for this task; choose demo, ddxplus, hotpotqa, mbpp or jsonl", name);
}

RewardSection reward_of(const RunConfig& config) {
  RewardSection reward = config.reward;
  const bool diagnosis = config.task.name == "ddxplus" || config.task.name == "demo";
  const bool one_gold = config.task.name == "hotpotqa" || (diagnosis && config.task.true_pathology_only);
  if (reward.confidence_sum == "auto" && one_gold) reward.confidence_sum = "at_most_one";
  return reward;
}

Verifier::Verifier(const RunConfig& config)
    : reward_(reward_of(config)),
      max_new_tokens_(config.rollout.max_new_tokens),
      grammar_(text::grammar_of(config)),
      grader_(make_grader(config)) {
  resolve(reward_);  // a bad reward option is reported before the first completion
}

std::vector<Verdict> Verifier::verify_all(const Problem& problem, const std::vector<CompletionText>& texts) const {
  std::vector<Verdict> verdicts(texts.size());
  std::vector<Verdict*> well_formed;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    verdicts[i].answers = text::parse(grammar_, texts[i].text, texts[i].ended);
    if (verdicts[i].answers.well_formed()) well_formed.push_back(&verdicts[i]);
  }
  if (!well_formed.empty()) grader_->grade_all(problem, well_formed);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    score(reward_, grammar_, static_cast<double>(texts[i].tokens) / max_new_tokens_, verdicts[i]);
  }
  return verdicts;
}

Verdict Verifier::verify(const Problem& problem, const std::string& text, bool ended, std::int64_t tokens) const {
  return verify_all(problem, {{text, ended, tokens}}).front();
}

}  // namespace setrl::verify
