// The threads of one engine: they run one body together and meet at barriers that cost under a microsecond. A waiting
// thread spins, then yields for some milliseconds, then sleeps, so an idle engine costs nothing. One thread owns and
// calls a team.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace setrl::rollout {

class ThreadTeam {
 public:
  // `cores`: where thread i runs; empty: wherever the system likes. Thread 0, the caller, is bound during run() only.
  explicit ThreadTeam(int threads, std::vector<int> cores = {});
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return threads_; }

  // body(thread) on every thread, thread 0 being the caller; returns when all are done. The body must not throw.
  template <class Body>
  void run(Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_call([](void* context, int thread) { (*static_cast<Plain*>(context))(thread); }, &body);
  }

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

  // Inside a body, called by all threads: body() on thread 0, the others wait.
  template <class Body>
  void once(int thread, Body&& body) {
    if (thread == 0) body();
    barrier();
  }

 private:
  using Call = void (*)(void* context, int thread);
  void run_call(Call call, const void* context);
  void barrier();
  void work(int thread);

  const int threads_;
  const std::vector<int> cores_;
  std::vector<std::thread> workers_;
  Call call_ = nullptr;
  void* context_ = nullptr;
  bool stop_ = false;
  alignas(64) std::atomic<std::int64_t> next_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace setrl::rollout
