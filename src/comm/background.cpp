#include "comm/background.h"

#include <utility>

namespace setrl::comm {

namespace {

class FutureRequest : public Request {
 public:
  explicit FutureRequest(std::future<void> done) : done_(std::move(done)) {}
  ~FutureRequest() override {
    if (done_.valid()) done_.wait();
  }
  void wait() override {
    if (done_.valid()) done_.get();
  }

 private:
  std::future<void> done_;
};

}  // namespace

Background::Background() : thread_([this] { run(); }) {}

Background::~Background() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

std::unique_ptr<Request> Background::start(std::function<void()> job) {
  std::packaged_task<void()> task(std::move(job));
  auto request = std::make_unique<FutureRequest>(task.get_future());
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(task));
  }
  changed_.notify_one();
  return request;
}

void Background::run() {
  for (;;) {
    std::packaged_task<void()> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace setrl::comm
