#include "comm/mpi_handle.h"

#include "base/error.h"
#include "comm/mpi_communicator.h"

namespace setrl::comm {

bool many_threads() {
  int level = MPI_THREAD_SINGLE;
  check_mpi(MPI_Query_thread(&level), "MPI_Query_thread");
  return level == MPI_THREAD_MULTIPLE;
}

const void* mpi_handle(const Communicator& communicator) {
  if (const auto* mpi = dynamic_cast<const MpiCommunicator*>(&communicator)) return &mpi->handle();
  SETRL_CHECK(communicator.size() == 1, "'{}' does not run over MPI", communicator.name());
  static const MPI_Comm self = MPI_COMM_SELF;
  return &self;
}

}  // namespace setrl::comm
