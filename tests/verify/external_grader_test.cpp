// The external verifier: what it is asked, how its answers count, and every way in which it can fail.
#include "verify/external_grader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/clock.h"
#include "base/error.h"

namespace setrl::verify {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class External : public ::testing::Test {
 protected:
  External() {
    std::string pattern = ::testing::TempDir() + "setrl-external-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    config_.task.name = "jsonl";
    config_.reward.kind = "rlvr";
    config_.task.k = 3;
    config_.verify.external_deadline_s = 20;
    config_.verify.retries = 1;
  }
  ~External() override { std::filesystem::remove_all(folder_); }

  void use(const std::string& mode) {
    config_.verify.external = "exec python3 '" + std::string(std::getenv("SETRL_SOURCE_DIR")) +
                              "/tests/verify/external_verifier.py' " + mode + " '" + folder_ + "'";
  }
  static Problem problem_of(json payload, const std::vector<std::string>& golds = {}) {
    Problem problem;
    problem.id = "jsonl/test/0";
    for (const auto& gold : golds) problem.golds.push_back({gold, {}, -1});
    problem.payload = json({{"grader", "external"}, {"payload", payload}}).dump();
    return problem;
  }
  static Verdict set_of(const std::vector<std::string>& answers) {
    Verdict verdict;
    verdict.answers.answers = answers;
    return verdict;
  }
  Verdict graded(const Problem& problem, const std::vector<std::string>& answers) {
    Verdict verdict = set_of(answers);
    ExternalGrader(config_).grade(problem, verdict);
    return verdict;
  }
  std::string read(const std::string& name) {
    std::ifstream file(folder_ + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string folder_;
  RunConfig config_;
};

using Flags = std::vector<std::uint8_t>;
const json kRight = {{"right", {"a", "b", "B"}}};

TEST_F(External, CorrectAnswersOfAProblemWithoutGoldsStandForThemselves) {
  use("good");
  const Verdict first = graded(problem_of(kRight), {"a", "x", "b"}),
                second = graded(problem_of(kRight), {"b", "y", "z"});
  EXPECT_EQ(first.outcome, Outcome::graded);
  EXPECT_EQ(first.correct, (Flags{1, 0, 1}));
  EXPECT_EQ(first.matched_gold[1], -1);
  EXPECT_GE(first.matched_gold[0], 0);
  EXPECT_NE(first.matched_gold[0], first.matched_gold[2]);
  EXPECT_EQ(first.matched_gold[2], second.matched_gold[0]);  // the same answer in another completion
}

TEST_F(External, KeysAndGoldsSayWhichAnswersAreOne) {
  use("good");
  const json keyed = {{"right", {"a", "b", "c"}}, {"keys", {{"a", "one"}, {"b", "one"}, {"c", "two"}}}};
  const Verdict verdict = graded(problem_of(keyed), {"a", "b", "c"});
  EXPECT_EQ(verdict.correct, (Flags{1, 0, 1}));
  EXPECT_EQ(verdict.matched_gold[0], verdict.matched_gold[1]);
  const json listed = {{"right", {"a", "b", "c"}}, {"golds", {{"a", 1}, {"b", 1}, {"c", 0}}}};
  const Verdict golds = graded(problem_of(listed, {"g0", "g1"}), {"a", "b", "c"});
  EXPECT_EQ(golds.matched_gold, (std::vector<std::int32_t>{1, 1, 0}));
  EXPECT_EQ(golds.correct, (Flags{1, 0, 1}));
}

TEST_F(External, TheProblemsGoldsTellWhereTheProgramDoesNot) {
  use("good");
  const Verdict verdict = graded(problem_of(kRight, {"A", "b"}), {"b", "q", "a"});
  EXPECT_EQ(verdict.correct, (Flags{1, 0, 1}));
  EXPECT_EQ(verdict.matched_gold, (std::vector<std::int32_t>{1, -1, 0}));
}

TEST_F(External, AbstentionsAreSettledHere) {
  use("good");
  config_.reward.abstention = true;
  const Verdict verdict = graded(problem_of({{"right", {"none", "a"}}}), {"none", "a", "None."});
  EXPECT_EQ(verdict.correct, (Flags{0, 1, 0}));
  EXPECT_EQ(verdict.matched_gold[0], kAbstained);
  EXPECT_EQ(verdict.matched_gold[2], kAbstained);
}

TEST_F(External, BytesThatAreNoUtf8ReachTheProgramReplaced) {
  use("good");
  EXPECT_EQ(graded(problem_of({{"right", {"\xEF\xBF\xBD"}}}), {"\xff", "x", "y"}).correct, (Flags{1, 0, 0}));
}

class Fault : public External, public ::testing::WithParamInterface<std::pair<const char*, const char*>> {};

// Never a reward of 0, never a wait without end; the reason is told, and the next problem finds a fresh process.
TEST_P(Fault, IsAnInfrastructureFailure) {
  const auto [mode, reason] = GetParam();
  use(mode);
  const bool waits = std::set<std::string>{"hang", "deaf", "spawn"}.count(mode) > 0;
  if (waits) config_.verify.external_deadline_s = 0.3;
  ::testing::internal::CaptureStderr();
  const Verdict verdict = graded(problem_of(kRight), {"a", "b", "c"});
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr(reason));
  EXPECT_EQ(verdict.outcome, Outcome::infrastructure_failure);
  config_.verify.max_failures = 3;
  const ExternalGrader grader(config_);
  Verdict again = set_of({"a", "b", "c"});
  grader.grade(problem_of(kRight), again);
  grader.grade(problem_of(kRight), again);
  EXPECT_THROW(grader.grade(problem_of(kRight), again), UserError);
}

INSTANTIATE_TEST_SUITE_P(
    Faults, Fault,
    ::testing::Values(std::pair{"hang", "no answer within 0.3 s"}, std::pair{"deaf", "no answer within"},
                      std::pair{"crash", "it ended: exit code 3"}, std::pair{"garbage", "is not a JSON object"},
                      std::pair{"number", "is not a JSON object"}, std::pair{"other_id", "has another id"},
                      std::pair{"no_correct", "has no \"correct\""}, std::pair{"short", "is not a list of 3 entries"},
                      std::pair{"two_lines", "more than one line"}, std::pair{"huge", "longer than 16 MiB"},
                      std::pair{"refuse", "the database is away"}),
    [](const auto& fault) { return std::string(fault.param.first); });

TEST_F(External, ACommandThatDoesNotExist) {
  config_.verify.external = "/no/such/program 2> /dev/null";
  EXPECT_EQ(graded(problem_of(kRight), {"a", "b", "c"}).outcome, Outcome::infrastructure_failure);
  config_.verify.external = "";
  EXPECT_THROW(ExternalGrader{config_}, UserError);
}

TEST_F(External, OneCrashOrHangIsRetried) {
  for (const char* mode : {"crash_once", "hang_once"}) {
    std::filesystem::remove(folder_ + "/mark");
    use(mode);
    config_.verify.external_deadline_s = mode == std::string("hang_once") ? 2 : 20;
    EXPECT_EQ(graded(problem_of(kRight), {"a", "x", "b"}).correct, (Flags{1, 0, 1})) << mode;
  }
  std::filesystem::remove(folder_ + "/mark");
  config_.verify.retries = 0;
  use("crash_once");
  EXPECT_EQ(graded(problem_of(kRight), {"a", "x", "b"}).outcome, Outcome::infrastructure_failure);
}

TEST_F(External, WhatItStartedDiesWithIt) {
  use("spawn");
  config_.verify.external_deadline_s = 2;
  config_.verify.retries = 0;
  EXPECT_EQ(graded(problem_of(kRight), {"a", "x", "b"}).outcome, Outcome::infrastructure_failure);
  const pid_t child = std::stoi(read("child"));
  const Deadline deadline(10);
  while (::kill(child, 0) == 0 && !deadline.passed()) {
    // Until init has reaped it, a killed child still has its number.
    std::ifstream status("/proc/" + std::to_string(child) + "/stat");
    std::string text{std::istreambuf_iterator<char>(status), {}};
    if (text.find(") Z ") != std::string::npos) break;
    ::usleep(1000);
  }
  EXPECT_FALSE(deadline.passed()) << "the verifier's own child outlived it";
}

// 60 requests over 3 processes: each process is made once, all answers reach their own request.
TEST_F(External, ManyRequestsShareTheProcesses) {
  use("count");
  config_.verify.external_processes = 3;
  const ExternalGrader grader(config_);
  std::vector<Verdict> verdicts;
  for (int i = 0; i < 60; ++i) verdicts.push_back(set_of({i % 2 == 0 ? "a" : "x", i % 3 == 0 ? "b" : "y", "z"}));
  std::vector<Verdict*> pointers;
  for (auto& verdict : verdicts) pointers.push_back(&verdict);
  grader.grade_all(problem_of(kRight), pointers);
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    EXPECT_EQ(verdicts[i].correct, (Flags{i % 2 == 0, i % 3 == 0, 0})) << i;
  }
  const std::string pids = read("pids");
  EXPECT_EQ(std::count(pids.begin(), pids.end(), '\n'), 3);
}

// A request far larger than a pipe's buffer, and a program that reads it slowly: no deadlock, nothing lost.
TEST_F(External, LargeRequestsPass) {
  use("slow");
  const std::string large(4 << 20, 'w');
  EXPECT_EQ(graded(problem_of({{"right", {large, "b"}}}), {large, "b", "c"}).correct, (Flags{1, 1, 0}));
}

TEST_F(External, TheVerifierLeavesAFailureOutOfTheReward) {
  use("crash");
  config_.verify.retries = 0;
  config_.task.k = 1;
  const Verifier verifier(config_);
  const Problem problem = problem_of({{"right", {"alpha"}}});
  const auto verdicts =
      verifier.verify_all(problem, {{"<think>t</think><answer>alpha</answer>", true, 5}, {"no set", true, 2}});
  EXPECT_EQ(verdicts[0].outcome, Outcome::infrastructure_failure);
  EXPECT_EQ(verdicts[1].outcome, Outcome::bad_format);  // needs no program
  use("good");
  const Verdict right = Verifier(config_).verify(problem, "<think>t</think><answer>alpha</answer>", true, 5);
  EXPECT_EQ(right.total, 1);
  config_.verify.external = "";
  EXPECT_THROW(Verifier(config_).verify(problem, "<think>t</think><answer>alpha</answer>", true, 5), UserError);
}

TEST(NamedGrader, LinesWithGoldsNeedNoProgram) {
  RunConfig config;
  config.task.name = "jsonl";
  config.task.k = 1;
  config.reward.kind = "rlvr";
  Problem problem;
  problem.golds = {{"a b", {}, -1}};
  problem.payload = R"({"grader": "exact"})";
  EXPECT_EQ(Verifier(config).verify(problem, "<think>t</think><answer>The A b.</answer>", true, 5).total, 1);
  config.task.name = "demo";
  config.verify.external = "x";
  EXPECT_THROW(Verifier{config}, UserError);
}

}  // namespace
}  // namespace setrl::verify
