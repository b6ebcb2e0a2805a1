#include "support/watchdog.h"

#include <unistd.h>

#include <cstdio>

namespace setrl::testing {

Watchdog::Watchdog(int rank, double limit_s) : rank_(rank), limit_(limit_s), thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Watchdog::start(const std::string& test) {
  const std::lock_guard lock(mutex_);
  test_ = test;
  started_ = std::chrono::steady_clock::now();
  changed_.notify_one();
}

void Watchdog::stop() {
  const std::lock_guard lock(mutex_);
  test_.clear();
  changed_.notify_one();
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  while (!ended_) {
    if (test_.empty()) {
      changed_.wait(lock);
      continue;
    }
    if (std::chrono::steady_clock::now() - started_ > limit_) {
      std::printf("[rank %d] %s did not end within %g s: the program is ended here\n", rank_, test_.c_str(),
                  limit_.count());
      std::fflush(nullptr);
      _exit(3);  // mpirun then ends the other ranks
    }
    changed_.wait_for(lock, limit_ / 20);
  }
}

}  // namespace setrl::testing
