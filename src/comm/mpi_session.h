// What all MPI communicators of a process share: the lock (MPI_THREAD_SERIALIZED lets one thread at a time into MPI),
// the deadline, sends on their way, and the watch: a communicator over which a rank whose deadline passed asks the
// others what they are doing, so that its error can name the missing ones. Answers are given from inside waiting loops,
// so the fast path pays nothing, and by the sentry, a thread that looks for questions twice a second and answers with
// the stack of a rank that computes. Internal to comm.
#pragma once

#include <mpi.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/stack.h"
#include "comm/backoff.h"
#include "comm/limits.h"

namespace setrl::comm {

// Throws BugError with MPI's own text unless `code` is MPI_SUCCESS. `what` names the call.
void check_mpi(int code, const char* what);

// An MPI communicator that is freed with its owner. Move-only.
class OwnedComm {
 public:
  OwnedComm() = default;
  explicit OwnedComm(MPI_Comm comm) : comm_(comm) {}
  OwnedComm(OwnedComm&& other) noexcept : comm_(other.release()) {}
  OwnedComm& operator=(OwnedComm&& other) noexcept;
  ~OwnedComm() { reset(); }

  const MPI_Comm& get() const { return comm_; }
  // Gives the handle up without freeing it (after MPI_Finalize, or where an operation on it never ended).
  MPI_Comm release();
  void reset();

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

// What a rank waits in. Two ranks are in the same collective where path and number agree.
struct Operation {
  std::string path;              // the communicator, the same text on all its ranks
  std::string text;              // "all_reduce #17 of 'learners'"
  std::uint64_t number = 0;      // of the collective on its communicator; 0 for point-to-point
  std::vector<int> partners;     // who may be missing: ranks in the communicator ...
  std::vector<int> world_ranks;  // ... and in the world, same order
};

class Session {
 public:
  Session(double deadline, OwnedComm watch);
  ~Session() { dismiss_sentry(); }

  // From here on a thread answers for the calling one while that is outside of communication. MPI must be used through
  // this session only.
  void post_sentry();
  // Before MPI is finalised or left alone.
  void dismiss_sentry();

  // Polls (under the lock) until `poll` returns true. Throws BugError naming the missing ranks after the deadline.
  void wait(const std::function<Operation()>& operation, Backoff::Pace pace, const std::function<bool()>& poll);

  // Isend of an owned buffer. The caller holds the lock.
  void post(std::vector<std::uint8_t> bytes, int destination, int tag, MPI_Comm comm);
  // Frees finished sends; true where none is left. The caller holds the lock.
  bool reap();
  // Keeps memory that an operation given up may still touch. The caller holds the lock.
  void park(std::shared_ptr<void> memory) { parked_.push_back(std::move(memory)); }
  // Waits until every send is done.
  void drain();
  // Ends the use of MPI: later verbs throw, later destructors do nothing.
  void close();
  // The same where MPI must not be called any more.
  void abandon();

  std::mutex mutex;
  bool alive = true;
  double deadline_s;
  Limits limits;
  std::vector<std::string> hosts;  // by world rank; empty where unknown

 private:
  struct Sending {
    std::vector<std::uint8_t> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  [[noreturn]] void give_up(const Operation& operation, double waited_s);
  // `probe`: where this thread is not the one that works, whose stack goes into the answer. The caller holds the lock.
  void answer_questions(const StackProbe* probe = nullptr);

  std::thread sentry_;
  std::condition_variable sentry_called_off_;
  bool off_duty_ = false;
  OwnedComm watch_;
  std::list<Sending> sends_;
  std::vector<std::shared_ptr<void>> parked_;
  std::vector<const Operation*> waiting_;  // one a thread that waits
  std::uint64_t questions_ = 0;
};

}  // namespace setrl::comm
