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

// "pain in: forehead, temple(R)", "pain intensity 7/10", or the statement alone.
std::string sentence(const DdxplusAnswer& answer) {
  std::string text = statement_of(*answer.evidence);
  if (answer.evidence->scale > 0) return fmt::format("{} {}/{}", text, answer.meanings.front(), answer.evidence->scale);
  if (answer.meanings == std::vector<std::string>{"Y"}) return text;
  for (std::size_t i = 0; i < answer.meanings.size(); ++i) text += (i == 0 ? ": " : ", ") + answer.meanings[i];
  return text;
}

std::string section(const std::string& title, const std::vector<std::string>& sentences) {
  std::string text;
  for (const auto& each : sentences) text += (text.empty() ? "\n" + title + ": " : "; ") + each;
  return text.empty() ? text : text + ".";
}

// Whether other answers say more about the same matter: "pain" where "pain in: forehead" stands, too.
bool is_implied(const DdxplusPatient& patient, const Evidence& evidence) {
  return std::any_of(patient.answers.begin(), patient.answers.end(), [&evidence](const DdxplusAnswer& answer) {
    return answer.evidence != &evidence && answer.evidence->parent == evidence.code;
  });
}

}  // namespace

std::string describe(const DdxplusPatient& patient) {
  std::vector<std::string> symptoms;
  std::vector<std::string> history;
  for (const auto& answer : patient.answers) {
    const bool only_yes = answer.meanings.empty();
    if (only_yes && (answer.evidence == patient.complaint || is_implied(patient, *answer.evidence))) continue;
    (answer.evidence->antecedent ? history : symptoms).push_back(sentence(answer));
  }
  return person(patient) + ". Complaint: " + statement_of(*patient.complaint) + "." + section("Symptoms", symptoms) +
         section("History", history);
}

std::vector<std::string> key_findings(const DdxplusPatient& patient) {
  constexpr std::size_t kMaxFindings = 3;
  constexpr std::size_t kMaxLength = 80;  // of all findings together, in bytes: some 20 tokens
  std::vector<const DdxplusAnswer*> ranked;
  for (const auto& answer : patient.answers) {
    if (answer.meanings.empty() && answer.evidence != patient.complaint) ranked.push_back(&answer);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const DdxplusAnswer* left, const DdxplusAnswer* right) {
    return left->evidence->conditions < right->evidence->conditions;
  });
  std::vector<std::string> findings;
  std::size_t length = 0;
  const auto add = [&](const Evidence& evidence) {
    std::string text = statement_of(evidence);
    if (findings.size() == kMaxFindings || length + text.size() > kMaxLength) return;
    length += text.size();
    findings.push_back(std::move(text));
  };
  add(*patient.complaint);
  for (const auto* answer : ranked) add(*answer->evidence);
  return findings;
}

}  // namespace setrl::tasks
