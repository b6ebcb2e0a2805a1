#include "verify/sandbox_pool.h"

#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "base/system.h"
#include "verify/sandbox.h"

namespace setrl::verify {

namespace {

constexpr double kFirstPause = 0.2;  // seconds before a failed sandbox is tried again; doubles each time

// What a confined program must find impossible; returns what it could do.
const char* const kProbe = R"python(
import os, socket

def abilities():
    found = []
    for name, act in (("start a process", os.fork), ("open a socket", socket.socket),
                      ("signal others", lambda: os.kill(os.getppid(), 0))):
        try:
            act()
            found.append(name)
        except OSError:
            pass
    if os.access("/", os.W_OK):
        found.append("write to /")
    return found + [name for name in ("/home", "/root", "/etc", "/proc") if os.path.exists(name)]
)python";

// Another launcher than bubblewrap shows of the host what it shows; processes, sockets and signals must be denied in
// all.
ProgramTests probe_tests(const std::string& sandbox) {
  ProgramTests tests;
  tests.tests = {sandbox == "bubblewrap" ? "assert abilities() == []"
                                         : "assert set(abilities()[:3]) <= {'write to /', "
                                           "'/home', '/root', '/etc', '/proc'}"};
  return tests;
}

ProgramReport attempt(Sandbox& sandbox, const VerifySection& verify, const ProgramTests& tests,
                      const std::string& program) {
  ProgramReport report;
  for (int round = 0; round <= verify.retries; ++round) {
    if (round > 0) std::this_thread::sleep_for(std::chrono::duration<double>(kFirstPause * std::pow(2, round - 1)));
    try {
      return sandbox.run(tests, program);
    } catch (const SandboxFailure& failure) {
      report = ProgramReport{};
      report.reason = failure.what();
      log::warning("sandbox: {}; attempt {} of {}", failure.what(), round + 1, verify.retries + 1);
    }
  }
  return report;
}

}  // namespace

struct SandboxPool::Batch {
  const ProgramTests* tests = nullptr;
  const std::vector<std::string>* programs = nullptr;
  std::vector<ProgramReport> reports;
  std::size_t open = 0;  // programs without a report
  std::exception_ptr failure;
  std::condition_variable done;
};

SandboxPool::SandboxPool(const VerifySection& verify) : verify_(verify) {
  probe();
  const int workers = verify.workers > 0 ? verify.workers : available_cores();
  for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
}

SandboxPool::~SandboxPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void SandboxPool::probe() {
  const std::string alternatives =
      "Programs of the policy are not run without a sandbox. Choose one: let this user make user namespaces (sysctl "
      "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) for bubblewrap; "
      "verify.sandbox=command with verify.command='apptainer exec --containall --net --network none IMAGE.sif'; or, "
      "where the machine holds nothing of worth, verify.sandbox=unsafe-none";
  Sandbox sandbox(verify_);
  const ProgramReport report = attempt(sandbox, verify_, probe_tests(verify_.sandbox), kProbe);
  if (report.outcome != ProgramOutcome::passed) {
    const bool leaks = report.outcome == ProgramOutcome::failed;
    throw_user_error("verify.sandbox={} {}: {}. {}", verify_.sandbox,
                     leaks ? "does not confine programs" : "does not work here", report.reason, alternatives);
  }
  if (verify_.sandbox == "unsafe-none") {
    log::warning("verify.sandbox=unsafe-none: programs of the policy run with the rights of this user");
  } else {
    log::info("programs of the policy run in a sandbox (verify.sandbox={})", verify_.sandbox);
  }
}

std::vector<ProgramReport> SandboxPool::run(const ProgramTests& tests, const std::vector<std::string>& programs) {
  const auto batch = std::make_shared<Batch>();
  batch->tests = &tests;
  batch->programs = &programs;
  batch->reports.resize(programs.size());
  batch->open = programs.size();
  std::unique_lock<std::mutex> lock(mutex_);
  for (std::size_t i = 0; i < programs.size(); ++i) jobs_.push_back({batch, i});
  wake_.notify_all();
  batch->done.wait(lock, [&] { return batch->open == 0; });
  if (batch->failure) std::rethrow_exception(batch->failure);
  return std::move(batch->reports);
}

void SandboxPool::work() {
  Sandbox sandbox(verify_);
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    if (closing_) return;
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    ProgramReport report;
    std::exception_ptr failure;
    try {
      report = attempt(sandbox, verify_, *job.batch->tests, (*job.batch->programs)[job.index]);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    Batch& batch = *job.batch;
    batch.reports[job.index] = std::move(report);
    if (failure) batch.failure = failure;
    if (--batch.open == 0) batch.done.notify_all();
  }
}

}  // namespace setrl::verify
