// DDXPlus (Fansi Tchango et al., NeurIPS 2022): synthetic patients with a differential diagnosis.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tasks/csv_table.h"
#include "tasks/ddxplus_dictionary.h"
#include "tasks/ddxplus_patient.h"
#include "tasks/diagnosis_task.h"

namespace setrl::tasks {

// Files in config.task.path: train.csv and test.csv (or release_train_patients and release_test_patients, with or
// without .csv), release_conditions.json, release_evidences.json.
class DdxplusTask final : public DiagnosisTask {
 public:
  // Reads every row once, so that a malformed one shows now and not in the middle of a run.
  explicit DdxplusTask(const RunConfig& config);

  std::int64_t size(const std::string& split) const override;
  std::string stratum(const std::string& split, std::int64_t index) const override;

 protected:
  DiagnosisCase read_case(const std::string& split, std::int64_t index) const override;
  const std::vector<std::string>& conditions() const override { return dictionary_.conditions(); }
  std::vector<std::string> aliases(const std::string& condition) const override;

 private:
  struct Split {
    CsvTable table;
    std::vector<std::uint16_t> pathology;  // of each row, index into conditions()
  };
  Split read_split(const std::string& folder, const std::string& name) const;
  const Split& split(const std::string& name) const;

  DdxplusDictionary dictionary_;
  Split train_;
  Split test_;
};

}  // namespace setrl::tasks
