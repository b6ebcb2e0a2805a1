#include "tasks/ddxplus_task.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "base/error.h"

namespace setrl::tasks {
namespace {

namespace fs = std::filesystem;

std::string folder_of(const RunConfig& config) {
  if (config.task.path.empty()) {
    throw_user_error("task.path is empty; task ddxplus needs the folder of the DDXPlus files there");
  }
  if (!fs::is_directory(config.task.path)) {
    throw_user_error("task.path: {} is not a folder; it should hold the DDXPlus files", config.task.path);
  }
  return config.task.path;
}

std::string patients_file(const std::string& folder, const std::string& split) {
  const std::string official = "release_" + split + "_patients";
  for (const auto& name : {split + ".csv", official + ".csv", official}) {
    const auto path = fs::path(folder) / name;
    if (fs::is_regular_file(path)) return path.string();
  }
  throw_user_error("{}: neither {}.csv nor {}[.csv] is there", folder, split, official);
}

std::string file_in(const std::string& folder, const char* name) {
  return (fs::path(folder) / name).string();
}

}  // namespace

DdxplusTask::DdxplusTask(const RunConfig& config)
    : DiagnosisTask("ddxplus", config, config.task.min_probability),
      dictionary_(file_in(folder_of(config), "release_conditions.json"),
                  file_in(config.task.path, "release_evidences.json")),
      train_(read_split(config.task.path, "train")),
      test_(read_split(config.task.path, "test")) {}

DdxplusTask::Split DdxplusTask::read_split(const std::string& folder, const std::string& name) const {
  Split split{CsvTable(patients_file(folder, name), ddxplus_columns()), {}};
  const auto& known = dictionary_.conditions();
  split.pathology.reserve(static_cast<std::size_t>(split.table.size()));
  for (std::int64_t row = 0; row < split.table.size(); ++row) {
    const auto patient = read_patient(dictionary_, split.table, row);
    const auto found = std::lower_bound(known.begin(), known.end(), patient.pathology);
    split.pathology.push_back(static_cast<std::uint16_t>(found - known.begin()));
  }
  if (split.pathology.empty()) throw_user_error("{}: has no patients", patients_file(folder, name));
  return split;
}

const DdxplusTask::Split& DdxplusTask::split(const std::string& name) const {
  if (name == "train") return train_;
  if (name == "test") return test_;
  throw_user_error("task ddxplus has the splits train and test, not `{}`", name);
}

std::int64_t DdxplusTask::size(const std::string& name) const {
  return split(name).table.size();
}

std::string DdxplusTask::stratum(const std::string& name, std::int64_t index) const {
  return dictionary_.conditions()[split(name).pathology.at(static_cast<std::size_t>(index))];
}

DiagnosisCase DdxplusTask::read_case(const std::string& name, std::int64_t index) const {
  const auto patient = read_patient(dictionary_, split(name).table, index);
  return {describe(patient), patient.pathology, patient.differential, key_findings(patient)};
}

std::vector<std::string> DdxplusTask::aliases(const std::string& condition) const {
  // Usual spellings and abbreviations of the dictionary's names.
  static const std::unordered_map<std::string, std::vector<std::string>> table = {
      {"Acute COPD exacerbation / infection", {"Acute COPD exacerbation", "COPD exacerbation"}},
      {"Boerhaave", {"Boerhaave syndrome"}},
      {"Bronchospasm / acute asthma exacerbation",
       {"Bronchospasm", "Acute asthma exacerbation", "Asthma exacerbation"}},
      {"Chagas", {"Chagas disease"}},
      {"GERD", {"Gastroesophageal reflux disease"}},
      {"Guillain-Barré syndrome", {"Guillain-Barre syndrome"}},
      {"HIV (initial infection)", {"HIV", "HIV infection", "Initial HIV infection"}},
      {"Larygospasm", {"Laryngospasm"}},
      {"PSVT", {"Paroxysmal supraventricular tachycardia"}},
      {"Possible NSTEMI / STEMI", {"NSTEMI / STEMI", "NSTEMI", "STEMI"}},
      {"SLE", {"Systemic lupus erythematosus"}},
      {"URTI", {"Upper respiratory tract infection"}},
      {"Whooping cough", {"Pertussis"}},
  };
  const auto found = table.find(condition);
  return found == table.end() ? std::vector<std::string>{} : found->second;
}

}  // namespace setrl::tasks
