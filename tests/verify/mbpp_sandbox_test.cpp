// MBPP's reference programs pass in the sandbox, and wrong variants of them do not. A part of the 974 problems; all of
// them with SETRL_MBPP_ALL=1.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/clock.h"
#include "tasks/mbpp_task.h"
#include "verify/program_grader.h"
#include "verify/sandbox_support.h"

namespace setrl::verify {
namespace {

// A problem, its reference program, and what mutate.py makes of that.
struct Case {
  std::string id;
  ProgramTests tests;
  std::string reference, none, wrong, raised;
  std::vector<std::string> each;  // where all problems are taken
};

using Programs = std::vector<std::pair<const Case*, std::string>>;

bool all_problems() {
  return std::getenv("SETRL_MBPP_ALL") != nullptr;
}

std::string data_folder() {
  const char* data = std::getenv("SETRL_DATA");
  return std::string(data == nullptr ? "../shared/data" : data) + "/mbpp";
}

// Adds the mutants that mutate.py makes.
void mutate(std::vector<Case>& cases) {
  const std::string base = std::filesystem::temp_directory_path() / ("setrl-mutate-" + std::to_string(::getpid()));
  {
    std::ofstream input(base + ".in");
    for (const auto& each : cases)
      input << nlohmann::json{{"code", each.reference}, {"test", each.tests.tests.front()}}.dump() << "\n";
  }
  const std::string script = std::string(std::getenv("SETRL_SOURCE_DIR")) + "/tests/verify/mutate.py";
  const std::string option = all_problems() ? " --each" : "";
  ASSERT_EQ(std::system(("python3 '" + script + "'" + option + " < " + base + ".in > " + base + ".out").c_str()), 0);
  std::ifstream output(base + ".out");
  for (auto& each : cases) {
    std::string line;
    ASSERT_TRUE(std::getline(output, line)) << each.id;
    const auto mutants = nlohmann::json::parse(line);
    each.none = mutants.at("none").get<std::string>();
    each.wrong = mutants.at("wrong").get<std::string>();
    each.raised = mutants.at("raised").get<std::string>();
    if (mutants.contains("each")) each.each = mutants.at("each").get<std::vector<std::string>>();
  }
  std::filesystem::remove(base + ".in");
  std::filesystem::remove(base + ".out");
}

std::vector<Case> read_cases() {
  RunConfig config;
  config.task.name = "mbpp";
  config.task.path = data_folder();
  const tasks::MbppTask task(config);
  std::vector<Case> cases;
  const std::int64_t stride = all_problems() ? 1 : 4;
  for (const std::string split : {"prompt", "test", "validation", "train"}) {
    for (std::int64_t i = 0; i < task.size(split); ++i) {
      const Problem problem = task.problem(split, i);
      const auto payload = nlohmann::json::parse(problem.payload);
      // The two with set-up code that needs the program's classes are always among them.
      if (i % stride != 0 && payload.at("setup").get<std::string>().empty()) continue;
      Case each;
      each.id = problem.id;
      each.tests = program_tests(problem);
      each.reference = payload.at("reference").get<std::string>();
      cases.push_back(std::move(each));
    }
  }
  return cases;
}

class Mbpp : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_SANDBOX();
    if (!std::filesystem::exists(data_folder())) GTEST_SKIP() << "SKIPPED: no MBPP in " << data_folder();
    if (cases().empty()) {
      cases() = read_cases();
      mutate(cases());
    }
  }

  static std::vector<Case>& cases() {
    static std::vector<Case> cases;
    return cases;
  }

  static Programs all(const std::string Case::*program) {
    Programs programs;
    for (const auto& each : cases()) {
      if (!(each.*program).empty()) programs.emplace_back(&each, each.*program);
    }
    return programs;
  }

  // Several at once, as a pool has several producers.
  static std::vector<ProgramReport> run(const Programs& programs, int cpu_s) {
    VerifySection verify;
    verify.cpu_s = cpu_s;
    SandboxPool pool(verify);
    std::vector<ProgramReport> reports(programs.size());
    std::vector<std::thread> threads;
    const auto producers = static_cast<std::size_t>(pool.workers());
    const Stopwatch clock;
    for (std::size_t t = 0; t < producers; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = t; i < programs.size(); i += producers) {
          reports[i] = pool.run(programs[i].first->tests, {programs[i].second}).front();
        }
      });
    }
    for (auto& thread : threads) thread.join();
    double cpu = 0;
    for (std::size_t i = 0; i < programs.size(); ++i) {
      cpu += reports[i].cpu_s;
      EXPECT_NE(reports[i].outcome, ProgramOutcome::infrastructure_failure)
          << programs[i].first->id << ": " << reports[i].reason;
    }
    const auto count = static_cast<double>(programs.size());
    std::printf("%.0f programs: %.1f s, %.0f programs/s with %zu workers, CPU %.2f ms a program\n", count,
                clock.seconds(), count / clock.seconds(), producers, 1000 * cpu / count);
    return reports;
  }

  // Those that pass. Wrong programs get one second, since many never end.
  static Programs passing(const Programs& programs) {
    Programs passed;
    const auto reports = run(programs, 1);
    for (std::size_t i = 0; i < programs.size(); ++i) {
      if (reports[i].outcome == ProgramOutcome::passed) passed.push_back(programs[i]);
    }
    return passed;
  }
};

TEST_F(Mbpp, ReferencesPass) {
  const auto programs = all(&Case::reference);
  const auto reports = run(programs, VerifySection().cpu_s);
  for (std::size_t i = 0; i < programs.size(); ++i) {
    EXPECT_EQ(reports[i].outcome, ProgramOutcome::passed) << programs[i].first->id << ": " << reports[i].reason;
  }
}

TEST_F(Mbpp, AnEarlyNoneFails) {
  for (const auto& each : passing(all(&Case::none))) ADD_FAILURE() << each.first->id << "\n" << each.second;
}

TEST_F(Mbpp, AWrongConstantFails) {
  const auto programs = all(&Case::wrong);
  EXPECT_EQ(programs.size(), cases().size());
  for (const auto& each : passing(programs)) ADD_FAILURE() << each.first->id << "\n" << each.second;
}

// A raised constant need not matter, or not to the tests. But of those programs some other wrong constant fails, except
// where none is ever used or none in a branch that the tests reach (docs/results/verifier.md).
TEST_F(Mbpp, MovedConstantsFail) {
  const auto programs = all(&Case::raised);
  const auto passed = passing(programs);
  std::printf("with all constants raised %zu of %zu pass\n", passed.size(), programs.size());
  EXPECT_LT(passed.size(), programs.size() / 10);
  Programs single;
  for (const auto& each : passed) {
    for (const auto& program : each.first->each) single.emplace_back(each.first, program);
  }
  std::map<std::string, std::pair<int, int>> counts;  // pass, all
  for (const auto& each : single) ++counts[each.first->id].second;
  for (const auto& each : passing(single)) ++counts[each.first->id].first;
  const std::set<std::string> without_effect = {"mbpp/test/217", "mbpp/test/380", "mbpp/train/660"};
  for (const auto& [id, count] : counts) {
    std::printf("%s: with one constant moved %d of %d pass\n", id.c_str(), count.first, count.second);
    EXPECT_EQ(count.first == count.second, without_effect.count(id) != 0) << id;
  }
}

}  // namespace
}  // namespace setrl::verify
