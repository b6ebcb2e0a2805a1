#include "rollout/thread_team.h"

#include <sched.h>

#include <chrono>
#include <utility>

#include "base/error.h"

namespace setrl::rollout {

namespace {
// About 30 microseconds: longer than the usual difference between threads, shorter than a time slice.
constexpr int kSpins = 2000;
// Then the core is offered to others, but not given up: a core that falls asleep wakes slowly, above all a virtual one.
constexpr auto kLongestWait = std::chrono::milliseconds(2);
}  // namespace

namespace {

// Binds the calling thread to a core while it lives. A core that is not there is no error: pinning is only for speed.
class BoundThread {
 public:
  BoundThread(const std::vector<int>& cores, int thread) : bound_(!cores.empty()) {
    if (!bound_) return;
    bound_ = sched_getaffinity(0, sizeof before_, &before_) == 0;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cores[static_cast<std::size_t>(thread)]), &set);
    bound_ = bound_ && sched_setaffinity(0, sizeof set, &set) == 0;
  }
  ~BoundThread() {
    if (bound_) sched_setaffinity(0, sizeof before_, &before_);
  }
  BoundThread(const BoundThread&) = delete;
  BoundThread& operator=(const BoundThread&) = delete;

 private:
  bool bound_;
  cpu_set_t before_{};
};

}  // namespace

ThreadTeam::ThreadTeam(int threads, std::vector<int> cores)
    : threads_(threads), cores_(std::move(cores)), next_(threads) {
  SETRL_CHECK(threads >= 1, "a team of {} threads", threads);
  SETRL_CHECK(cores_.empty() || cores_.size() == static_cast<std::size_t>(threads), "{} cores for {} threads",
              cores_.size(), threads);
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadTeam::~ThreadTeam() {
  stop_ = true;
  barrier();
  for (auto& worker : workers_) worker.join();
}

void ThreadTeam::run_call(Call call, const void* context) {
  const BoundThread bound(cores_, 0);
  call_ = call;
  context_ = const_cast<void*>(context);
  barrier();
  call(context_, 0);
  barrier();
}

void ThreadTeam::work(int thread) {
  const BoundThread bound(cores_, thread);
  while (true) {
    barrier();
    if (stop_) return;
    call_(context_, thread);
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
  for (const auto end = std::chrono::steady_clock::now() + kLongestWait; std::chrono::steady_clock::now() < end;) {
    if (generation_.load(std::memory_order_acquire) != generation) return;
    sched_yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  wake_.wait(lock, [&] { return generation_.load(std::memory_order_seq_cst) != generation; });
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace setrl::rollout
