#include "store/store_thread.h"

#include <future>
#include <utility>

#include "store/hdf5.h"

namespace setrl::store {

namespace {
constexpr std::size_t kMostWaiting = 8;
}

void initialise_hdf5() {
  h5::check(H5open(), "HDF5");
}

StoreThread::StoreThread() : thread_([this] { run(); }) {}

StoreThread::~StoreThread() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    long_.clear();
  }
  changed_.notify_all();
  thread_.join();
}

void StoreThread::post(Work work) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return short_.size() < kMostWaiting; });
  short_.push_back(std::move(work));
  changed_.notify_all();
}

void StoreThread::call(const Work& work) {
  std::promise<void> done;
  post([&] {
    try {
      work();
      done.set_value();
    } catch (...) {
      done.set_exception(std::current_exception());
    }
  });
  done.get_future().get();
}

void StoreThread::post_long(Work work) {
  const std::lock_guard lock(mutex_);
  long_.push_back(std::move(work));
  changed_.notify_all();
}

void StoreThread::check() {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void StoreThread::drain() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return short_.empty() && !busy_; });
  }
  check();
}

void StoreThread::let_pass() {
  std::unique_lock lock(mutex_);
  while (run_short(lock)) {
  }
}

// Runs the first short work, if any, with the lock released.
bool StoreThread::run_short(std::unique_lock<std::mutex>& lock) {
  if (short_.empty()) return false;
  const Work work = std::move(short_.front());
  short_.pop_front();
  busy_ = true;
  lock.unlock();
  std::exception_ptr error;
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  busy_ = false;
  if (error && !error_) error_ = error;
  changed_.notify_all();
  return true;
}

void StoreThread::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (run_short(lock)) continue;
    if (!long_.empty()) {
      const Work work = std::move(long_.front());
      long_.pop_front();
      lock.unlock();
      work();
      lock.lock();
      continue;
    }
    if (ending_) return;
    changed_.wait(lock, [&] { return ending_ || !short_.empty() || !long_.empty(); });
  }
}

}  // namespace setrl::store
