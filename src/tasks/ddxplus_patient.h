// One DDXPlus patient, and the patient in plain words.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tasks/csv_table.h"
#include "tasks/ddxplus_dictionary.h"

namespace setrl::tasks {

struct DdxplusAnswer {
  const Evidence* evidence = nullptr;
  std::vector<std::string> meanings;  // empty for a binary evidence, several where the question takes several
};

struct DdxplusPatient {
  int age = 0;
  bool female = false;
  std::string pathology;
  std::vector<std::pair<std::string, double>> differential;  // most probable first
  const Evidence* complaint = nullptr;                       // what the patient came with
  std::vector<DdxplusAnswer> answers;                        // in the file's order, without default answers
};

// The columns that read_patient wants, in its order.
const std::vector<std::string>& ddxplus_columns();

// Throws UserError naming file, line and column where a field is malformed or not in the dictionary.
DdxplusPatient read_patient(const DdxplusDictionary& dictionary, const CsvTable& table, std::int64_t row);

// Age, sex and complaint, then symptoms, then history.
std::string describe(const DdxplusPatient& patient);

// Up to three short findings, first the complaint, then those that the fewest conditions know.
std::vector<std::string> key_findings(const DdxplusPatient& patient);

}  // namespace setrl::tasks
