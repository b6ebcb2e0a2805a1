#include <algorithm>

#include "base/error.h"
#include "tasks/ddxplus_patient.h"
#include "tasks/ddxplus_wording.h"

namespace setrl::tasks {
namespace {

std::string person(const DdxplusPatient& patient) {
  const char* noun = patient.age < 16 ? (patient.female ? "girl" : "boy") : (patient.female ? "woman" : "man");
  return fmt::format("{}-year-old {}", patient.age, noun);
}

// "pain location: forehead, temple(R)", or the statement alone.
std::string sentence(const DdxplusAnswer& answer) {
  std::string text = statement_of(answer.evidence->question);
  for (std::size_t i = 0; i < answer.meanings.size(); ++i) text += (i == 0 ? ": " : ", ") + answer.meanings[i];
  return text;
}

std::string section(const std::string& title, const std::vector<std::string>& sentences) {
  std::string text;
  for (const auto& each : sentences) text += (text.empty() ? "\n" + title + ": " : "; ") + each;
  return text.empty() ? text : text + ".";
}

}  // namespace

std::string describe(const DdxplusPatient& patient) {
  std::vector<std::string> symptoms;
  std::vector<std::string> history;
  for (const auto& answer : patient.answers) {
    if (answer.evidence == patient.complaint && answer.meanings.empty()) continue;  // stands in the first line
    (answer.evidence->antecedent ? history : symptoms).push_back(sentence(answer));
  }
  return person(patient) + " who complains of: " + statement_of(patient.complaint->question) + "." +
         section("Symptoms", symptoms) + section("History", history);
}

std::vector<std::string> key_findings(const DdxplusPatient& patient) {
  constexpr std::size_t kMaxFindings = 3;
  constexpr std::size_t kMaxLength = 40;  // of one finding, in bytes: keeps the think text near 25 tokens
  std::vector<const DdxplusAnswer*> ranked;
  for (const auto& answer : patient.answers) {
    if (answer.meanings.empty() && answer.evidence != patient.complaint) ranked.push_back(&answer);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const DdxplusAnswer* left, const DdxplusAnswer* right) {
    return left->evidence->conditions < right->evidence->conditions;
  });
  std::vector<std::string> findings;
  const auto add = [&findings](const Evidence& evidence) {
    std::string text = statement_of(evidence.question);
    if (findings.size() < kMaxFindings && text.size() <= kMaxLength) findings.push_back(std::move(text));
  };
  add(*patient.complaint);
  for (const auto* answer : ranked) add(*answer->evidence);
  return findings;
}

}  // namespace setrl::tasks
