#include "commands/verdict_text.h"

#include <nlohmann/json.hpp>

namespace setrl::commands {

std::string answer_result(const Problem& problem, const Verdict& verdict, std::size_t k) {
  const int gold = verdict.matched_gold[k];
  if (!verdict.programs.empty()) {
    if (verdict.correct[k] != 0) return "passes its tests";
    return gold >= 0 ? "repeats a program" : gold == kAbstained ? "abstains" : "wrong: " + verdict.programs[k].reason;
  }
  const bool listed = gold >= 0 && static_cast<std::size_t>(gold) < problem.golds.size();
  if (verdict.correct[k] != 0) {
    return listed ? "correct: " + problem.golds[static_cast<std::size_t>(gold)].text : "correct";
  }
  return gold >= 0 ? "repeats a gold" : gold == kAbstained ? "abstains" : "wrong";
}

std::vector<std::string> tests_of(const Problem& problem) {
  std::vector<std::string> tests;
  const auto payload = nlohmann::json::parse(problem.payload, nullptr, false);
  if (!payload.is_object() || !payload.contains("tests") || !payload.at("tests").is_array()) return tests;
  for (const auto& test : payload.at("tests")) {
    if (test.is_string()) tests.push_back(test.get<std::string>());
  }
  return tests;
}

}  // namespace setrl::commands
