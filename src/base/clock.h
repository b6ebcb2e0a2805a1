// Monotonic time and deadlines.
#pragma once

#include <chrono>
#include <string>

namespace setrl {

// Seconds since construction or the last restart.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  double restart() {
    const double elapsed = seconds();
    start_ = std::chrono::steady_clock::now();
    return elapsed;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// A point in time after which a wait is given up. Seconds <= 0 means never.
class Deadline {
 public:
  explicit Deadline(double seconds) : limit_(seconds) {}
  bool passed() const { return limit_ > 0 && clock_.seconds() > limit_; }
  double limit() const { return limit_; }

 private:
  Stopwatch clock_;
  double limit_;
};

}  // namespace setrl
