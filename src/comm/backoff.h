// Pauses of a waiting loop: none at first so that a quick partner is met at once, then longer and longer sleeps so that
// an idle rank costs no CPU (Open MPI itself waits by spinning).
#pragma once

#include <sched.h>

#include <algorithm>
#include <ctime>

#include "base/clock.h"

namespace setrl::comm {

class Backoff {
 public:
  // idle: waiting for a partner that may be busy for minutes. busy: data is moving, which it does only while polled.
  // background: the same beside a thread that computes: short sleeps, never a spin that takes the core from it.
  enum class Pace { idle, busy, background };

  explicit Backoff(Pace pace) : pace_(pace) {}

  void pause() {
    if (polls_ < kSpins) {
      ++polls_;
      return;
    }
    const bool busy = pace_ != Pace::idle;
    if (!asleep_ && pace_ != Pace::background && clock_.seconds() < (busy ? kBusySeconds : kYieldSeconds)) {
      sched_yield();
      return;
    }
    asleep_ = true;
    const timespec span{0, sleep_ns_};
    nanosleep(&span, nullptr);
    sleep_ns_ = std::min(sleep_ns_ * 3 / 2, busy ? kFirstSleepNs : kLastSleepNs);
  }

  // Something is under way that moves only while it is polled: short sleeps from here on.
  void hurry() { sleep_ns_ = kFirstSleepNs; }

  // Whether pause() sleeps by now: the time for housekeeping.
  bool asleep() const { return asleep_; }

 private:
  static constexpr int kSpins = 32;
  // Longer than the shortest sleep with the kernel's slack: two ranks that answer each other fall back into step after
  // one of them has slept.
  static constexpr double kYieldSeconds = 200e-6;
  static constexpr double kBusySeconds = 1.0;
  static constexpr long kFirstSleepNs = 20'000;
  static constexpr long kLastSleepNs = 1'000'000;

  Pace pace_;
  Stopwatch clock_;
  int polls_ = 0;
  long sleep_ns_ = kFirstSleepNs;
  bool asleep_ = false;
};

}  // namespace setrl::comm
