#include "verify/program_grader.h"

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace setrl::verify {

namespace {

constexpr const char* kFence = "```";

}  // namespace

std::string program_text(const std::string& answer) {
  std::string text;
  for (std::size_t i = 0; i < answer.size(); ++i) {
    if (answer[i] == '\r' && i + 1 < answer.size() && answer[i + 1] == '\n') continue;
    text += answer[i];
  }
  const auto first_line = text.find('\n');
  const auto last_line = text.rfind('\n');
  if (text.rfind(kFence, 0) != 0 || first_line == last_line) return text;
  if (text.substr(last_line + 1) != kFence) return text;
  return text.substr(first_line + 1, last_line - first_line);
}

ProgramTests program_tests(const Problem& problem) {
  try {
    const auto payload = nlohmann::json::parse(problem.payload);
    ProgramTests tests;
    tests.imports = payload.value("imports", std::vector<std::string>{});
    tests.setup = payload.value("setup", "");
    tests.tests = payload.at("tests").get<std::vector<std::string>>();
    if (tests.tests.empty()) throw_user_error("problem {}: there are no tests", problem.id);
    return tests;
  } catch (const nlohmann::json::exception& error) {
    throw_user_error("problem {}: the payload holds no tests ({})", problem.id, error.what());
  }
}

ProgramGrader::ProgramGrader(const VerifySection& verify, bool abstention) : pool_(verify), abstention_(abstention) {}

void ProgramGrader::grade(const Problem& problem, Verdict& verdict) const {
  grade_all(problem, {&verdict});
}

void ProgramGrader::grade_all(const Problem& problem, const std::vector<Verdict*>& verdicts) const {
  const auto abstains = [&](const std::string& answer) { return abstention_ && text::normalise(answer) == "none"; };
  std::map<std::string, std::size_t> place;  // program -> its report
  std::vector<std::string> programs;
  for (const auto* verdict : verdicts) {
    SETRL_CHECK(verdict->answers.well_formed(), "a malformed text was given to the grader");
    for (const auto& answer : verdict->answers.answers) {
      const std::string program = program_text(answer);
      if (!abstains(answer) && place.emplace(program, programs.size()).second) programs.push_back(program);
    }
  }
  const auto reports = pool_.run(program_tests(problem), programs);

  for (auto* verdict : verdicts) {
    const auto& answers = verdict->answers.answers;
    verdict->correct.assign(answers.size(), 0);
    verdict->matched_gold.assign(answers.size(), -1);
    verdict->programs.assign(answers.size(), {});
    std::map<std::uint64_t, std::int32_t> found;  // syntax tree -> number among the correct programs of this set
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (abstains(answers[i])) {
        verdict->matched_gold[i] = kAbstained;
        continue;
      }
      const ProgramReport& report = reports[place.at(program_text(answers[i]))];
      verdict->programs[i] = {report.tree, report.behaviour, report.reason};
      if (report.outcome == ProgramOutcome::infrastructure_failure) {
        verdict->outcome = Outcome::infrastructure_failure;
      } else if (report.outcome == ProgramOutcome::passed) {
        const auto [entry, is_new] = found.emplace(report.tree, static_cast<std::int32_t>(found.size()));
        verdict->matched_gold[i] = entry->second;
        verdict->correct[i] = is_new ? 1 : 0;
      }
    }
  }
}

}  // namespace setrl::verify
