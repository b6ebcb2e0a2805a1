// The threads of one engine: they run one body together and meet at barriers that cost under a microsecond. A waiting
// thread spins briefly, then sleeps, so an idle engine costs nothing. One thread owns and calls a team.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace setrl::rollout {

class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return threads_; }

  // body(thread) on every thread, thread 0 being the caller; returns when all are done. The body must not throw.
  void run(const std::function<void(int)>& body);

  // Inside a body, called by all threads: each index 0 .. count-1 goes to exactly one thread, as threads get free
  // (their first one is fixed); ends with a barrier. body(index, next): `next` is the index this thread will get after
  // this one, or >= count.
  template <class Body>
  void for_each(int thread, std::int64_t count, Body&& body) {
    std::int64_t index = thread;
    while (index < count) {
      const std::int64_t next = next_.fetch_add(1, std::memory_order_relaxed);
      body(index, next);
      index = next;
    }
    barrier();
  }

 private:
  void barrier();
  void work(int thread);

  const int threads_;
  std::vector<std::thread> workers_;
  const std::function<void(int)>* body_ = nullptr;
  bool stop_ = false;
  alignas(64) std::atomic<std::int64_t> next_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace setrl::rollout
