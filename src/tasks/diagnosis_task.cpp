#include "tasks/diagnosis_task.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "tasks/gold_set_builder.h"

namespace setrl::tasks {
namespace {

constexpr std::uint64_t kFillerSeed = 20240607;

std::string join(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

}  // namespace

DiagnosisTask::DiagnosisTask(std::string name, const RunConfig& config, double min_probability)
    : name_(std::move(name)),
      grammar_(text::grammar_of(config)),
      min_probability_(min_probability),
      true_pathology_only_(config.task.true_pathology_only),
      list_options_(config.task.list_options) {}

std::string DiagnosisTask::problem_id(const std::string& split, std::int64_t index) const {
  SETRL_CHECK(index >= 0 && index < size(split), "index {} is outside {}/{}", index, name_, split);
  return fmt::format("{}/{}/{}", name_, split, index);
}

GoldAnswer DiagnosisTask::gold(const std::string& condition, double probability) const {
  return GoldAnswer{condition, aliases(condition), probability};
}

Problem DiagnosisTask::problem(const std::string& split, std::int64_t index) const {
  Problem problem;
  problem.id = problem_id(split, index);
  problem.task = name_;
  const DiagnosisCase patient = read_case(split, index);

  std::string role = "You name a patient's likely diagnoses.\n" + text::instructions(grammar_);
  if (list_options_) role += "\nPossible conditions: " + join(conditions(), "; ") + ".";
  const std::string question = grammar_.k == 1 ? "What is the most likely diagnosis?"
                                               : fmt::format("What are the {} most likely diagnoses?", grammar_.k);
  problem.messages = {{"system", role}, {"user", patient.description + "\n" + question}};

  if (true_pathology_only_) {
    double probability = -1;
    for (const auto& [condition, p] : patient.differential) {
      if (condition == patient.pathology) probability = p;
    }
    problem.golds = {gold(patient.pathology, probability)};
  } else {
    for (const auto& [condition, probability] : patient.differential) {
      if (problem.golds.empty() || probability >= min_probability_) {
        problem.golds.push_back(gold(condition, probability));
      }
    }
  }
  problem.payload =
      nlohmann::json{
          {"pathology", patient.pathology}, {"differential", patient.differential}, {"findings", patient.findings}}
          .dump();
  return problem;
}

AnswerSet DiagnosisTask::gold_answer_set(const Problem& problem, const text::Grammar& grammar) const {
  const auto payload = nlohmann::json::parse(problem.payload);
  AnswerSet set;
  const auto findings = payload.at("findings").get<std::vector<std::string>>();
  set.think = findings.empty() ? "Nothing stands out." : "Key findings: " + join(findings, ", ") + ".";

  GoldSetBuilder builder(static_cast<std::size_t>(grammar.k));
  for (const auto& gold : problem.golds) {
    // A gold without a probability shares the certainty evenly with the others.
    builder.add(gold.text, gold.probability >= 0 ? gold.probability : 1.0 / static_cast<double>(problem.golds.size()));
  }
  for (const auto& gold : problem.golds) {
    for (const auto& alias : gold.aliases) builder.forbid(alias);
  }
  if (grammar.abstention && !true_pathology_only_) builder.add_abstentions();
  for (const auto& [condition, probability] :
       payload.at("differential").get<std::vector<std::pair<std::string, double>>>()) {
    builder.add(condition, probability);
  }
  if (grammar.abstention) builder.add_abstentions();
  if (!builder.full()) {
    auto candidates = conditions();
    RandomStream random(kFillerSeed, stable_hash(problem.id));
    random.shuffle(candidates);
    const double confidence = builder.filler_confidence();
    for (const auto& candidate : candidates) builder.add(candidate, confidence);
    if (!builder.full()) {
      throw_user_error("task.k = {} is more than the {} possible answers of task {}", grammar.k, conditions().size(),
                       name_);
    }
  }
  builder.finish(set, grammar.confidences);
  return set;
}

}  // namespace setrl::tasks
