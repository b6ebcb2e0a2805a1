// Owns MPI_Init/MPI_Finalize. Made once in main; outlives every communicator. Not under mpirun it is a world of one
// rank.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/limits.h"

namespace setrl::comm {

class Session;

// Who may be in MPI at a time. This module's verbs take turns either way; `many` is for libraries that call MPI by
// themselves from a thread of their own (comm/mpi_handle.h), and costs MPI locks of its own.
enum class Threads { one_at_a_time, many };

class MpiRuntime {
 public:
  // Initialises MPI with MPI_THREAD_SERIALIZED (or MPI_THREAD_MULTIPLE where `threads` asks for it and the library has
  // it), sets MPI_ERRORS_RETURN before anything else. `deadline_s`: the longest wait of every verb, <= 0 for none.
  // Throws UserError where the MPI library does not even offer MPI_THREAD_SERIALIZED.
  MpiRuntime(int* argc, char*** argv, double deadline_s, Threads threads = Threads::one_at_a_time);
  // Finalises, unless an exception is unwinding: then it leaves MPI alone (the caller aborts).
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  Communicator& world();

  // Ends the whole job with this exit code. Never returns.
  [[noreturn]] void abort(int exit_code);

  void set_deadline(double seconds);

  // From here on a thread tells other ranks what the calling thread does while it computes (its stack included). For
  // programs that use MPI through this runtime only.
  void post_sentry();

  // The same on all ranks, between collectives.
  void set_limits(const Limits& limits);

  // Internal to comm.
  std::shared_ptr<Session> session();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace setrl::comm
