// Ends this process where a test takes too long: the last resort where every rank hangs outside communication.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace setrl::testing {

class Watchdog {
 public:
  // `rank` is for the message.
  Watchdog(int rank, double limit_s);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void start(const std::string& test);
  void stop();

 private:
  void watch();

  int rank_;
  std::chrono::duration<double> limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string test_;  // empty between tests
  std::chrono::steady_clock::time_point started_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace setrl::testing
