#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "tasks/ddxplus_patient.h"
#include "tasks/python_literal.h"

namespace setrl::tasks {
namespace {

enum Column : std::size_t { kAge, kDifferential, kSex, kPathology, kEvidences, kInitial };

// "E_53" or "E_54_@_V_161" -> code and value.
std::pair<std::string, std::string> split_code(const std::string& text) {
  const auto at = text.find("_@_");
  if (at == std::string::npos) return {text, ""};
  return {text.substr(0, at), text.substr(at + 3)};
}

int read_age(const std::string& text, const std::string& place) {
  int age = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), age);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || age < 0 || age > 130) {
    throw_user_error("{}: `{}` is not an age in whole years", place, text);
  }
  return age;
}

void check_differential(const DdxplusDictionary& dictionary, const DdxplusPatient& patient, const std::string& place) {
  if (patient.differential.empty()) throw_user_error("{}: the differential diagnosis is empty", place);
  std::vector<std::string> names;
  for (const auto& [condition, probability] : patient.differential) {
    if (!dictionary.has_condition(condition)) {
      throw_user_error("{}: `{}` is not in the dictionary of conditions", place, condition);
    }
    if (probability < 0 || probability > 1) {
      throw_user_error("{}: the probability {} of `{}` is not in [0, 1]", place, probability, condition);
    }
    names.push_back(condition);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) throw_user_error("{}: `{}` stands twice", place, *twice);
}

const Evidence& known_evidence(const DdxplusDictionary& dictionary, const std::string& code, const std::string& place) {
  const Evidence* evidence = dictionary.find(code);
  if (evidence == nullptr) throw_user_error("{}: `{}` is not in the dictionary of evidences", place, code);
  return *evidence;
}

void add_answer(const DdxplusDictionary& dictionary, const std::string& text, const std::string& place,
                std::vector<DdxplusAnswer>& answers) {
  const auto [code, value] = split_code(text);
  const Evidence& evidence = known_evidence(dictionary, code, place);
  if (evidence.kind == Evidence::Kind::binary) {
    if (!value.empty()) throw_user_error("{}: `{}` is a yes-or-no evidence and takes no value", place, text);
    answers.push_back({&evidence, {}});
    return;
  }
  const auto meaning = evidence.values.find(value);
  if (meaning == evidence.values.end()) {
    throw_user_error("{}: `{}` has no value that evidence {} takes", place, text, code);
  }
  if (value == evidence.default_value) return;
  const auto previous = std::find_if(answers.begin(), answers.end(),
                                     [&](const DdxplusAnswer& answer) { return answer.evidence == &evidence; });
  if (previous == answers.end()) {
    answers.push_back({&evidence, {meaning->second}});
  } else if (evidence.kind == Evidence::Kind::multiple) {
    previous->meanings.push_back(meaning->second);
  } else {
    throw_user_error("{}: evidence {} takes one value, `{}` is another one", place, code, text);
  }
}

}  // namespace

const std::vector<std::string>& ddxplus_columns() {
  static const std::vector<std::string> columns = {"AGE",       "DIFFERENTIAL_DIAGNOSIS", "SEX", "PATHOLOGY",
                                                   "EVIDENCES", "INITIAL_EVIDENCE"};
  return columns;
}

DdxplusPatient read_patient(const DdxplusDictionary& dictionary, const CsvTable& table, std::int64_t row) {
  const auto fields = table.row(row);
  DdxplusPatient patient;
  patient.age = read_age(fields[kAge], table.place(row, kAge));
  if (fields[kSex] != "F" && fields[kSex] != "M") {
    throw_user_error("{}: `{}` is neither F nor M", table.place(row, kSex), fields[kSex]);
  }
  patient.female = fields[kSex] == "F";
  patient.pathology = fields[kPathology];
  if (!dictionary.has_condition(patient.pathology)) {
    throw_user_error("{}: `{}` is not in the dictionary of conditions", table.place(row, kPathology),
                     patient.pathology);
  }

  const auto differential_place = table.place(row, kDifferential);
  patient.differential = parse_weighted_list(fields[kDifferential], differential_place);
  check_differential(dictionary, patient, differential_place);
  std::stable_sort(patient.differential.begin(), patient.differential.end(),
                   [](const auto& left, const auto& right) { return left.second > right.second; });

  const auto evidences_place = table.place(row, kEvidences);
  for (const auto& text : parse_string_list(fields[kEvidences], evidences_place)) {
    add_answer(dictionary, text, evidences_place, patient.answers);
  }
  patient.complaint = &known_evidence(dictionary, split_code(fields[kInitial]).first, table.place(row, kInitial));
  return patient;
}

}  // namespace setrl::tasks
