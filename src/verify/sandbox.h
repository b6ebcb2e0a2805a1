// One sandbox for programs and one for the judge, used for one program at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "config/run_config.h"
#include "verify/program_report.h"
#include "verify/worker_process.h"

namespace setrl::verify {

// Owns its processes; they are started when they are needed and replaced when they are spoilt (a program was late, or
// left something behind). Used by one thread, the one that made it, which must live as long.
class Sandbox {
 public:
  explicit Sandbox(const VerifySection& verify);

  // Throws SandboxFailure where no verdict could be reached because the sandbox failed or the machine is overloaded,
  // and UserError where the tests cannot be judged (not the program's fault). After either, the next call starts anew.
  ProgramReport run(const ProgramTests& tests, const std::string& program);

  std::int64_t starts() const { return starts_; }  // processes started so far

 private:
  void plan(const ProgramTests& tests);
  nlohmann::json ask_judge(const nlohmann::json& request, const std::string& output, bool& late);
  void start_runner();
  void start_judge();

  VerifySection verify_;
  std::unique_ptr<WorkerProcess> runner_;
  std::unique_ptr<WorkerProcess> judge_;
  nlohmann::json problem_;  // of the last call: the K programs of a set and all sets of a group share their tests
  nlohmann::json steps_;    // what its tests need of the program
  std::int64_t starts_ = 0;
};

}  // namespace setrl::verify
