#include "tasks/ddxplus_dictionary.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tasks/file_view.h"

namespace setrl::tasks {
namespace {

using nlohmann::json;

json read_object(const std::string& file) {
  const FileView view(file);
  try {
    auto value = json::parse(view.text());
    if (!value.is_object() || value.empty()) throw_user_error("{}: a JSON object with entries is expected", file);
    return value;
  } catch (const json::exception& error) {
    throw_user_error("{}: is not JSON: {}", file, error.what());
  }
}

// A key of an entry, of the type T.
template <typename T>
T field(const std::string& file, const std::string& entry, const json& object, const char* key) {
  try {
    return object.at(key).get<T>();
  } catch (const json::exception&) {
    throw_user_error("{}: entry {}: key {} is missing or has the wrong type", file, entry, key);
  }
}

// Values are written as strings ("V_11") or whole numbers (0).
std::string value_name(const std::string& file, const std::string& entry, const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return std::to_string(value.get<std::int64_t>());
  throw_user_error("{}: entry {}: a value is neither a string nor a whole number", file, entry);
}

}  // namespace

DdxplusDictionary::DdxplusDictionary(const std::string& conditions_file, const std::string& evidences_file) {
  read_evidences(evidences_file);
  read_conditions(conditions_file);
}

const Evidence* DdxplusDictionary::find(const std::string& code) const {
  const auto found = evidences_.find(code);
  return found == evidences_.end() ? nullptr : &found->second;
}

void DdxplusDictionary::read_evidences(const std::string& file) {
  const json entries = read_object(file);
  for (const auto& [code, entry] : entries.items()) {
    Evidence evidence;
    evidence.code = code;
    evidence.parent = field<std::string>(file, code, entry, "code_question");
    evidence.question = field<std::string>(file, code, entry, "question_en");
    evidence.antecedent = field<bool>(file, code, entry, "is_antecedent");
    const auto kind = field<std::string>(file, code, entry, "data_type");
    if (kind == "B") {
      evidence.kind = Evidence::Kind::binary;
    } else if (kind == "C") {
      evidence.kind = Evidence::Kind::categorical;
    } else if (kind == "M") {
      evidence.kind = Evidence::Kind::multiple;
    } else {
      throw_user_error("{}: entry {}: data_type is `{}`, not B, C or M", file, code, kind);
    }
    evidence.default_value = value_name(file, code, field<json>(file, code, entry, "default_value"));
    const auto meanings = field<json>(file, code, entry, "value_meaning");
    bool numbers = true;
    for (const auto& value : field<std::vector<json>>(file, code, entry, "possible-values")) {
      numbers = numbers && value.is_number_integer();
      if (numbers) evidence.scale = std::max(evidence.scale, value.get<int>());
      const std::string name = value_name(file, code, value);
      evidence.values[name] =
          meanings.contains(name) ? field<std::string>(file, code + ", value " + name, meanings[name], "en") : name;
    }
    if (!numbers) evidence.scale = 0;
    if (evidence.kind != Evidence::Kind::binary && evidence.values.empty()) {
      throw_user_error("{}: entry {}: possible-values is empty", file, code);
    }
    evidences_.emplace(code, std::move(evidence));
  }
}

void DdxplusDictionary::read_conditions(const std::string& file) {
  const json entries = read_object(file);
  for (const auto& [key, entry] : entries.items()) {
    const auto name = field<std::string>(file, key, entry, "condition_name");
    if (!condition_names_.emplace(name, 0).second) throw_user_error("{}: condition `{}` stands twice", file, name);
    conditions_.push_back(name);
    for (const char* group : {"symptoms", "antecedents"}) {
      const auto known = field<json>(file, key, entry, group);
      if (!known.is_object()) throw_user_error("{}: entry {}: {} is not an object", file, key, group);
      for (const auto& [code, unused] : known.items()) {
        const auto found = evidences_.find(code);
        if (found == evidences_.end()) {
          throw_user_error("{}: entry {}: evidence {} is not in the dictionary of evidences", file, key, code);
        }
        ++found->second.conditions;
      }
    }
  }
  std::sort(conditions_.begin(), conditions_.end());
}

}  // namespace setrl::tasks
