// MBPP's reference programs pass in the sandbox, and wrong variants of them do not. A part of the 974 problems; all of
// them with SETRL_MBPP_ALL=1.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "tasks/mbpp_task.h"
#include "verify/program_grader.h"
#include "verify/sandbox_support.h"

namespace setrl::verify {
namespace {

struct Case {
  std::string id, reference, none, constant;
  ProgramTests tests;
};

std::string data_folder() {
  const char* data = std::getenv("SETRL_DATA");
  return std::string(data == nullptr ? "../shared/data" : data) + "/mbpp";
}

// Adds the mutants that mutate.py makes.
void mutate(std::vector<Case>& cases) {
  const std::string base = std::filesystem::temp_directory_path() / ("setrl-mutate-" + std::to_string(::getpid()));
  {
    std::ofstream input(base + ".in");
    for (const auto& each : cases) input << nlohmann::json{{"code", each.reference}}.dump() << "\n";
  }
  const std::string script = std::string(std::getenv("SETRL_SOURCE_DIR")) + "/tests/verify/mutate.py";
  ASSERT_EQ(std::system(("python3 '" + script + "' < " + base + ".in > " + base + ".out").c_str()), 0);
  std::ifstream output(base + ".out");
  for (auto& each : cases) {
    std::string line;
    ASSERT_TRUE(std::getline(output, line)) << each.id;
    const auto mutants = nlohmann::json::parse(line);
    each.none = mutants.at("none").get<std::string>();
    each.constant = mutants.at("constant").get<std::string>();
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
  const std::int64_t stride = std::getenv("SETRL_MBPP_ALL") != nullptr ? 1 : 4;
  for (const std::string split : {"prompt", "test", "validation", "train"}) {
    for (std::int64_t i = 0; i < task.size(split); ++i) {
      const Problem problem = task.problem(split, i);
      const auto payload = nlohmann::json::parse(problem.payload);
      // The two with set-up code that needs the program's classes are always among them.
      if (i % stride != 0 && payload.at("setup").get<std::string>().empty()) continue;
      cases.push_back({problem.id, payload.at("reference").get<std::string>(), "", "", program_tests(problem)});
    }
  }
  return cases;
}

TEST(Mbpp, ReferencesPassAndMutantsDoNot) {
  SKIP_WITHOUT_SANDBOX();
  if (!std::filesystem::exists(data_folder())) GTEST_SKIP() << "SKIPPED: no MBPP in " << data_folder();
  auto cases = read_cases();
  mutate(cases);
  if (HasFatalFailure()) return;
  VerifySection verify;
  SandboxPool pool(verify);
  verify.cpu_s = 1;  // wrong constants make endless loops
  SandboxPool impatient(verify);

  const Stopwatch clock;
  double cpu = 0;
  const auto run = [&](SandboxPool& sandboxes, const std::string Case::*program, bool expected) {
    std::vector<std::thread> threads;  // several at once, as a pool has several producers
    std::vector<ProgramReport> reports(cases.size());
    const int producers = sandboxes.workers();
    for (int t = 0; t < producers; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = static_cast<std::size_t>(t); i < cases.size(); i += static_cast<std::size_t>(producers)) {
          if (!(cases[i].*program).empty()) reports[i] = sandboxes.run(cases[i].tests, {cases[i].*program}).front();
        }
      });
    }
    for (auto& thread : threads) thread.join();
    int as_expected = 0;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      if ((cases[i].*program).empty()) continue;
      cpu += reports[i].cpu_s;
      EXPECT_NE(reports[i].outcome, ProgramOutcome::infrastructure_failure) << cases[i].id << ": " << reports[i].reason;
      as_expected += (reports[i].outcome == ProgramOutcome::passed) == expected ? 1 : 0;
      if (expected && reports[i].outcome != ProgramOutcome::passed) {
        ADD_FAILURE() << cases[i].id << ": " << reports[i].reason;
      }
    }
    return as_expected;
  };
  const int count = static_cast<int>(cases.size());
  EXPECT_EQ(run(pool, &Case::reference, true), count);
  const double seconds = clock.seconds();
  std::printf("%d reference programs: %.1f s, %.0f programs/s with %d workers, CPU %.2f ms a program\n", count, seconds,
              count / seconds, pool.workers(), 1000 * cpu / count);
  EXPECT_EQ(run(impatient, &Case::none, false), count);
  int with_constants = 0;
  for (const auto& each : cases) with_constants += each.constant.empty() ? 0 : 1;
  const int caught = run(impatient, &Case::constant, false);
  std::printf("with changed constants: %d of %d fail (the others are equal programs for these tests)\n", caught,
              with_constants);
  EXPECT_GT(caught, with_constants * 9 / 10);
  std::printf("in all %.1f s\n", clock.seconds());
}

}  // namespace
}  // namespace setrl::verify
