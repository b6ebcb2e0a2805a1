// The thread of a process that owns its HDF5 calls during a run: the library is not thread-safe, and no step waits for
// a disk. Short works (a step's trajectory) are run in the order of posting; a long work (a checkpoint) lets them pass
// wherever it calls `let_pass`.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace setrl::store {

// Before MPI is up, or by the only thread that uses it: HDF5's parallel build calls MPI when it is initialised.
void initialise_hdf5();

class StoreThread {
 public:
  using Work = std::function<void()>;

  StoreThread();
  // Runs the short works that wait, drops long ones that have not begun, and waits for one that has: its owner must
  // have told it to stop.
  ~StoreThread();
  StoreThread(const StoreThread&) = delete;
  StoreThread& operator=(const StoreThread&) = delete;

  // Short work. Waits where too many are waiting already (a disk slower than the steps). The first error of a work is
  // thrown by the next `check`, once.
  void post(Work work);
  // The same, and waits for it; throws its error.
  void call(const Work& work);
  // Long work, after those posted before. It must not throw.
  void post_long(Work work);
  void check();
  // Waits until all short works are done; throws like `check`.
  void drain();

  // For a long work, on this thread: runs the short works that wait.
  void let_pass();

 private:
  void run();
  bool run_short(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> short_, long_;
  bool busy_ = false;  // a short work is being run
  bool ending_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace setrl::store
