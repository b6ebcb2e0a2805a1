// A thread that runs jobs one after another. Internal to comm.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/communicator.h"

namespace setrl::comm {

class Background {
 public:
  Background();
  // Runs what was started to its end first.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // What `job` throws is thrown by the request's wait().
  std::unique_ptr<Request> start(std::function<void()> job);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<void()>> jobs_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace setrl::comm
