// Sandboxes at work side by side: programs in, reports out.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "config/run_config.h"
#include "verify/program_report.h"

namespace setrl::verify {

// Owns verify.workers threads, each with a sandbox of its own that stays warm from one program to the next.
class SandboxPool {
 public:
  // Starts one sandbox and proves that it works and confines (a program may neither start processes nor open sockets
  // nor write outside of its folder). Throws UserError that names the alternatives where it does not.
  explicit SandboxPool(const VerifySection& verify);
  ~SandboxPool();  // waits for the programs that run, and drops those that wait
  SandboxPool(const SandboxPool&) = delete;
  SandboxPool& operator=(const SandboxPool&) = delete;

  // One report a program, in order; returns when all are there: at the latest after (retries + 1) times the limits.
  // Any number of threads may call it. Throws UserError where the tests cannot be used.
  std::vector<ProgramReport> run(const ProgramTests& tests, const std::vector<std::string>& programs);

  int workers() const { return static_cast<int>(threads_.size()); }

 private:
  struct Batch;
  struct Job {
    std::shared_ptr<Batch> batch;
    std::size_t index = 0;
  };

  void work();
  void probe();

  const VerifySection verify_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace setrl::verify
