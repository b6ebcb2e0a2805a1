#include "verify/sandbox.h"

#include <csignal>
#include <cstring>

#include "base/error.h"
#include "verify/scripts.h"
#include "verify/seccomp_filter.h"

namespace setrl::verify {

namespace {

using nlohmann::json;

constexpr double kStartSeconds = 20;
constexpr double kJudgeSeconds = 10;
constexpr std::int64_t kJudgeMemory = std::int64_t{1} << 30;
constexpr std::int64_t kFileBytes = 8 << 20;  // of one file that a program writes
constexpr int kProcesses = 32;                // processes and threads of one sandbox
constexpr int kSetUpFailed = 113;             // EXIT_SETUP of runner.py

json tests_to_json(const ProgramTests& tests) {
  return {{"imports", tests.imports}, {"setup", tests.setup}, {"tests", tests.tests}};
}

// How a program's process ended, or "" where it ended by itself.
std::string violent_end(const json& status, const VerifySection& verify, bool overflow) {
  const int signal = status.at("signal").get<int>();
  if (signal == SIGXCPU || (signal == SIGKILL && status.at("cpu").get<double>() >= verify.cpu_s)) {
    return fmt::format("took more than {} s of CPU time", verify.cpu_s);
  }
  if (signal != 0) return fmt::format("was killed by signal {} ({})", signal, ::strsignal(signal));
  if (overflow) return fmt::format("returned more than {} KiB", verify.output_kb);
  return "";
}

std::uint64_t from_hex(const json& digits) {
  const auto text = digits.get<std::string>();
  return text.empty() ? 0 : std::stoull(text, nullptr, 16);
}

}  // namespace

Sandbox::Sandbox(const VerifySection& verify) : verify_(verify) {}

void Sandbox::start_runner() {
  const Launch launch = make_launch(verify_, kRunnerScript);
  ++starts_;
  auto process = std::make_unique<WorkerProcess>(launch);
  const bool own = verify_.sandbox == "bubblewrap";
  const json limits = {{"cpu", verify_.cpu_s},
                       {"memory", verify_.memory_mb << 20},
                       {"file", kFileBytes},
                       {"threads", own ? kProcesses : 0}};  // elsewhere the user's other processes would count, too
  process->send({{"folder", launch.folder}, {"limits", limits}}, inner_filter());
  json ready;
  if (process->receive(kStartSeconds, false, 0, ready) != WorkerProcess::Wait::answered) {
    throw SandboxFailure(fmt::format("the sandbox did not start within {} s{}", kStartSeconds, process->complaints()));
  }
  runner_ = std::move(process);
}

void Sandbox::start_judge() {
  const Launch launch = make_launch(verify_, kJudgeScript);
  ++starts_;
  auto process = std::make_unique<WorkerProcess>(launch);
  process->send({{"memory", kJudgeMemory}});
  json ready;
  if (process->receive(kStartSeconds, false, 0, ready) != WorkerProcess::Wait::answered) {
    throw SandboxFailure(fmt::format("the judge did not start within {} s{}", kStartSeconds, process->complaints()));
  }
  judge_ = std::move(process);
}

json Sandbox::ask_judge(const json& request, const std::string& output, bool& late) {
  if (!judge_) start_judge();
  try {
    judge_->send(request, output);
    json answer;
    const auto wait = judge_->receive(kJudgeSeconds, false, 0, answer);
    late = wait == WorkerProcess::Wait::late;
    if (wait == WorkerProcess::Wait::starved) throw SandboxFailure("the machine is overloaded: the judge got no core");
    if (late) judge_.reset();
    return answer;
  } catch (const SandboxFailure&) {
    judge_.reset();
    throw;
  }
}

void Sandbox::plan(const ProgramTests& tests) {
  json problem = tests_to_json(tests);
  if (problem == problem_) return;
  problem_ = nullptr;
  bool late = false;
  json answer = ask_judge({{"want", "plan"}, {"problem", problem}}, "", late);
  if (late) throw SandboxFailure("the judge did not answer");
  if (answer.contains("error")) throw_user_error("tests that cannot be used: {}", answer["error"].get<std::string>());
  steps_ = answer.at("steps");
  problem_ = std::move(problem);
}

ProgramReport Sandbox::run(const ProgramTests& tests, const std::string& program) {
  ProgramReport report;
  report.outcome = ProgramOutcome::failed;
  report.passed.assign(tests.tests.size(), 0);
  plan(tests);
  if (!runner_) start_runner();
  std::string violence, output;
  try {
    runner_->output.clear();
    runner_->overflow = false;
    runner_->send({{"code", program}, {"steps", steps_}});
    json status;
    const auto wait = runner_->receive(verify_.wall_s, true, static_cast<std::size_t>(verify_.output_kb) << 10, status);
    if (wait == WorkerProcess::Wait::starved)
      throw SandboxFailure("the machine is overloaded: the program got no core");
    output = std::move(runner_->output);
    if (wait == WorkerProcess::Wait::late) {
      violence = fmt::format("did not end within {} s", verify_.wall_s);
      runner_.reset();
    } else {
      // A program that ends with this code has written a record before: it cannot pass for a failure of the sandbox.
      if (output.empty() && status.at("exit") == kSetUpFailed) throw SandboxFailure("limits could not be put in place");
      violence = violent_end(status, verify_, runner_->overflow);
      report.cpu_s = status.at("cpu").get<double>();
      if (status.at("dirty").get<bool>()) runner_.reset();
    }
  } catch (const SandboxFailure&) {
    runner_.reset();
    throw;
  }
  bool late = false;
  const json verdict = ask_judge({{"want", "judge"}, {"problem", problem_}}, output, late);
  if (late) {
    report.reason = "what it returned could not be judged in time";
    return report;
  }
  report.tree = from_hex(verdict.at("tree"));
  report.behaviour = from_hex(verdict.at("behaviour"));
  if (!violence.empty()) {
    report.reason = violence;
    return report;
  }
  report.passed = verdict.at("passed").get<std::vector<std::uint8_t>>();
  report.reason = verdict.at("reason").get<std::string>();
  bool all = !report.passed.empty();
  for (const auto passed : report.passed) all = all && passed != 0;
  if (all) report.outcome = ProgramOutcome::passed;
  return report;
}

}  // namespace setrl::verify
