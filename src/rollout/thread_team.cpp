#include "rollout/thread_team.h"

#include "base/error.h"

namespace setrl::rollout {

namespace {
// About 30 microseconds: longer than the usual difference between threads, shorter than a time slice.
constexpr int kSpins = 2000;
}  // namespace

ThreadTeam::ThreadTeam(int threads) : threads_(threads), next_(threads) {
  SETRL_CHECK(threads >= 1, "a team of {} threads", threads);
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadTeam::~ThreadTeam() {
  stop_ = true;
  barrier();
  for (auto& worker : workers_) worker.join();
}

void ThreadTeam::run(const std::function<void(int)>& body) {
  body_ = &body;
  barrier();
  body(0);
  barrier();
}

void ThreadTeam::work(int thread) {
  while (true) {
    barrier();
    if (stop_) return;
    (*body_)(thread);
    barrier();
  }
}

void ThreadTeam::barrier() {
  const std::uint32_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);
    next_.store(threads_, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      const std::lock_guard<std::mutex> lock(mutex_);
      wake_.notify_all();
    }
    return;
  }
  for (int spin = 0; spin < kSpins; ++spin) {
    if (generation_.load(std::memory_order_acquire) != generation) return;
    __builtin_ia32_pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  wake_.wait(lock, [&] { return generation_.load(std::memory_order_seq_cst) != generation; });
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace setrl::rollout
