// The built-in demo task: patients of a small known world, so that the differential is exact and calibration can be
// checked against the truth. Needs no files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tasks/demo_model.h"
#include "tasks/diagnosis_task.h"

namespace setrl::tasks {

// 20,000 train and 2,000 test problems, functions of (split, index) alone: the same for every run seed. Golds are the
// conditions with a posterior of at least 0.05 (or config.task.min_probability, where that is more).
class DemoTask final : public DiagnosisTask {
 public:
  explicit DemoTask(const RunConfig& config);

  std::int64_t size(const std::string& split) const override;
  std::string stratum(const std::string& split, std::int64_t index) const override;

 protected:
  DiagnosisCase read_case(const std::string& split, std::int64_t index) const override;
  const std::vector<std::string>& conditions() const override { return names_; }
  std::vector<std::string> aliases(const std::string& condition) const override;

 private:
  std::vector<std::string> key_findings(const DemoPatient& patient, std::size_t condition) const;

  DemoModel model_;
  std::vector<std::string> names_;
};

// Texts for a tokenizer trained on the spot: prompts and rendered gold sets of the first 400 train problems.
std::vector<std::string> demo_corpus(const RunConfig& config);

}  // namespace setrl::tasks
