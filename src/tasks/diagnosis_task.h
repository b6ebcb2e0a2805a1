// What the diagnosis tasks (DDXPlus and demo) have in common: a case becomes a problem whose golds are its
// differential.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tasks/task.h"

namespace setrl::tasks {

struct DiagnosisCase {
  std::string description;                                   // the case in plain words
  std::string pathology;                                     // what the patient has
  std::vector<std::pair<std::string, double>> differential;  // condition and probability, most probable first
  std::vector<std::string> findings;                         // one to three that point the way, for the think text
};

class DiagnosisTask : public Task {
 public:
  // Golds: the differential's conditions of at least `min_probability` (always the most probable one), or the true
  // pathology alone (config.task.true_pathology_only). The payload is JSON: pathology, differential, findings.
  DiagnosisTask(std::string name, const RunConfig& config, double min_probability);

  const std::string& name() const final { return name_; }
  Problem problem(const std::string& split, std::int64_t index) const final;
  // Slots that golds leave empty take conditions of the differential that are no golds, with their probability, then
  // conditions drawn at random (seeded by problem id) with confidence 0.02 or less. Where the grammar knows abstention,
  // "none" with confidence 0 stands in for those (also for the differential's, unless only the true pathology counts:
  // then they are what a doctor would have to guess). The set is ordered by confidence.
  AnswerSet gold_answer_set(const Problem& problem, const text::Grammar& grammar) const final;

 protected:
  virtual DiagnosisCase read_case(const std::string& split, std::int64_t index) const = 0;
  virtual const std::vector<std::string>& conditions() const = 0;  // every possible answer
  // Other spellings of a condition that count as right.
  virtual std::vector<std::string> aliases(const std::string& condition) const = 0;
  // "demo/train/17"; throws BugError where the split does not exist or the index is outside it.
  std::string problem_id(const std::string& split, std::int64_t index) const;

 private:
  GoldAnswer gold(const std::string& condition, double probability) const;

  std::string name_;
  text::Grammar grammar_;
  double min_probability_;
  bool true_pathology_only_;
  bool list_options_;
};

}  // namespace setrl::tasks
