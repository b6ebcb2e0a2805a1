#include "tasks/demo_task.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "tasks/demo_tables.h"

namespace setrl::tasks {
namespace {

constexpr std::uint64_t kDataSeed =
    971;  // of the patients; not the run's seed, so that all runs share their test split
constexpr double kGoldProbability = 0.05;
constexpr std::size_t kMaxFindings = 3;

std::string list_present(const DemoPatient& patient, bool background) {
  const auto& evidences = demo_evidences();
  std::string text;
  for (std::size_t e = 0; e < evidences.size(); ++e) {
    if (patient.present[e] != 0 && (evidences[e].kind != DemoEvidence::Kind::symptom) == background) {
      text += (text.empty() ? "" : ", ") + evidences[e].name;
    }
  }
  return text.empty() ? "none" : text;
}

std::string describe(const DemoPatient& patient) {
  const char* noun = patient.age < 16 ? (patient.female ? "girl" : "boy") : (patient.female ? "woman" : "man");
  return fmt::format("{}-year-old {}. Symptoms: {}. Background: {}. All else that was asked is absent.", patient.age,
                     noun, list_present(patient, false), list_present(patient, true));
}

}  // namespace

DemoTask::DemoTask(const RunConfig& config)
    : DiagnosisTask("demo", config, std::max(kGoldProbability, config.task.min_probability)) {
  for (const auto& condition : demo_conditions()) names_.push_back(condition.name);
}

std::int64_t DemoTask::size(const std::string& split) const {
  if (split == "train") return 20000;
  if (split == "test") return 2000;
  throw_user_error("task demo has the splits train and test, not `{}`", split);
}

std::string DemoTask::stratum(const std::string& split, std::int64_t index) const {
  RandomStream random(kDataSeed, stable_hash(problem_id(split, index)));
  return names_[model_.draw_condition(random)];
}

DiagnosisCase DemoTask::read_case(const std::string& split, std::int64_t index) const {
  RandomStream random(kDataSeed, stable_hash(problem_id(split, index)));
  const auto patient = model_.draw(random);
  const auto posterior = model_.posterior(patient);

  std::vector<std::size_t> order(posterior.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&posterior](std::size_t left, std::size_t right) { return posterior[left] > posterior[right]; });
  DiagnosisCase result{describe(patient), names_[patient.condition], {}, key_findings(patient, order.front())};
  for (const auto c : order) result.differential.emplace_back(names_[c], posterior[c]);
  return result;
}

// The present evidences that speak most for `condition`: P(evidence | condition) / P(evidence).
std::vector<std::string> DemoTask::key_findings(const DemoPatient& patient, std::size_t condition) const {
  std::vector<std::pair<double, std::size_t>> ranked;
  for (std::size_t e = 0; e < patient.present.size(); ++e) {
    if (patient.present[e] != 0)
      ranked.emplace_back(-model_.likelihood(condition, e) / model_.frequency(patient, e), e);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> findings;
  for (const auto& [unused, e] : ranked) {
    if (findings.size() < kMaxFindings) findings.push_back(demo_evidences()[e].name);
  }
  return findings;
}

std::vector<std::string> DemoTask::aliases(const std::string& condition) const {
  for (const auto& each : demo_conditions()) {
    if (each.name == condition) return each.aliases;
  }
  throw BugError("demo task: unknown condition " + condition);
}

std::vector<std::string> demo_corpus(const RunConfig& config) {
  constexpr std::int64_t kCases = 400;
  const DemoTask task(config);
  const auto grammar = text::grammar_of(config);
  std::vector<std::string> corpus;
  for (std::int64_t index = 0; index < kCases; ++index) {
    const auto problem = task.problem("train", index);
    for (const auto& message : problem.messages) corpus.push_back(message.content);
    corpus.push_back(text::render(grammar, task.gold_answer_set(problem, grammar)));
  }
  return corpus;
}

}  // namespace setrl::tasks
