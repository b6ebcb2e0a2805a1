// DDXPlus' two dictionaries: release_conditions.json and release_evidences.json.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace setrl::tasks {

// A question that a patient may be asked.
struct Evidence {
  enum class Kind { binary, categorical, multiple };
  std::string code;      // "E_54"
  std::string parent;    // code of the question that leads to this one ("Do you have pain?"), or its own
  std::string question;  // English
  Kind kind = Kind::binary;
  bool antecedent = false;    // history rather than a symptom
  std::string default_value;  // the answer that says nothing
  // Possible answers and their English meaning; a number means itself.
  std::unordered_map<std::string, std::string> values;
  int scale = 0;       // largest value where all values are whole numbers ("3 of 10"), else 0
  int conditions = 0;  // how many conditions know this evidence: few make it telling
};

class DdxplusDictionary {
 public:
  // Throws UserError naming file and entry where something is missing or of another type than expected.
  DdxplusDictionary(const std::string& conditions_file, const std::string& evidences_file);

  const std::vector<std::string>& conditions() const { return conditions_; }  // sorted
  bool has_condition(const std::string& name) const { return condition_names_.count(name) > 0; }
  const Evidence* find(const std::string& code) const;  // null where there is no such evidence

 private:
  void read_evidences(const std::string& file);
  void read_conditions(const std::string& file);

  std::vector<std::string> conditions_;
  std::unordered_map<std::string, int> condition_names_;
  std::unordered_map<std::string, Evidence> evidences_;
};

}  // namespace setrl::tasks
