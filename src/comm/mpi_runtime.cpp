#include "comm/mpi_runtime.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "base/error.h"
#include "base/log.h"
#include "base/system.h"
#include "comm/mpi_communicator.h"

namespace setrl::comm {

struct MpiRuntime::State {
  std::shared_ptr<Session> session;
  std::unique_ptr<Communicator> world;
  int exceptions_at_start = 0;
};

namespace {

OwnedComm duplicate_world() {
  MPI_Comm copy = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup");
  return OwnedComm(copy);
}

// Records cross ranks as plain memory: all machines must agree on the order of bytes.
void check_byte_order(Communicator& world) {
  const std::uint32_t mine = 0x01020304;
  std::vector<std::uint32_t> all(static_cast<std::size_t>(world.size()));
  world.all_gather(&mine, sizeof mine, all.data());
  for (std::size_t r = 0; r < all.size(); ++r) {
    if (all[r] != mine) throw_user_error("rank {} runs on a machine with another byte order; start all on one kind", r);
  }
}

std::vector<std::string> gather_hosts(Communicator& world) {
  constexpr std::size_t kLength = 64;
  char mine[kLength] = {};
  host_name().copy(mine, kLength - 1);
  std::vector<char> all(kLength * static_cast<std::size_t>(world.size()));
  world.all_gather(mine, kLength, all.data());
  std::vector<std::string> hosts;
  for (std::size_t at = 0; at < all.size(); at += kLength) hosts.emplace_back(all.data() + at);
  return hosts;
}

}  // namespace

MpiRuntime::MpiRuntime(int* argc, char*** argv, double deadline_s, Threads threads)
    : state_(std::make_unique<State>()) {
  int provided = MPI_THREAD_SINGLE;
  const int wanted = threads == Threads::many ? MPI_THREAD_MULTIPLE : MPI_THREAD_SERIALIZED;
  const int code = MPI_Init_thread(argc, argv, wanted, &provided);
  // Before anything else: the default handler ends the process before a return code is seen. Communicators made from
  // the world inherit this.
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  check_mpi(code, "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED) {
    throw_user_error("this MPI library was built without MPI_THREAD_SERIALIZED (it offers level {}); use one with it",
                     provided);
  }
  state_->exceptions_at_start = std::uncaught_exceptions();
  state_->session = std::make_shared<Session>(deadline_s, duplicate_world());
  int ranks = 0;
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size");
  if (ranks == 1) {
    state_->world = make_local_communicator("world");
  } else {
    state_->world = std::make_unique<MpiCommunicator>(state_->session, duplicate_world(), "world", "world");
  }
  check_byte_order(*state_->world);
  state_->session->hosts = gather_hosts(*state_->world);
}

MpiRuntime::~MpiRuntime() {
  state_->session->dismiss_sentry();
  if (std::uncaught_exceptions() > state_->exceptions_at_start) {
    state_->session->abandon();
    return;
  }
  try {
    // MPI_Finalize spins and knows no deadline: first make sure, idle, that nothing is under way and everyone is here.
    state_->session->drain();
    state_->world->barrier();
    state_->world.reset();
    state_->session->close();
    MPI_Finalize();
  } catch (const std::exception& failure) {
    log::error("the end of the job failed: {}", failure.what());
    abort(kExitInternalError);
  }
}

Communicator& MpiRuntime::world() {
  return *state_->world;
}

void MpiRuntime::abort(int exit_code) {
  std::fflush(nullptr);
  // A single process has nobody to end but itself, and MPI_Abort would print its notice.
  if (!state_->world || state_->world->size() > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

void MpiRuntime::post_sentry() {
  if (state_->world->size() > 1) state_->session->post_sentry();
}

void MpiRuntime::set_deadline(double seconds) {
  const std::lock_guard lock(state_->session->mutex);
  state_->session->deadline_s = seconds;
}

std::shared_ptr<Session> MpiRuntime::session() {
  return state_->session;
}

void MpiRuntime::set_limits(const Limits& limits) {
  const std::lock_guard lock(state_->session->mutex);
  state_->session->limits = limits;
}

}  // namespace setrl::comm
