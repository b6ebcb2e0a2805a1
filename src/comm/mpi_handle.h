// For libraries that call MPI by themselves (HDF5's parallel build).
#pragma once

#include "comm/communicator.h"

namespace setrl::comm {

// Whether several threads may be in MPI at once. The calls of such a library do not take turns with this module's, so
// it must not be used from another thread where this is false. MPI must be up.
bool many_threads();

// The address of the communicator's MPI_Comm, which lives as long as the communicator; of one rank alone, that of
// MPI_COMM_SELF. The communicator should be made for that library (`split`): MPI lets one thread at a time call
// collectives of a communicator.
const void* mpi_handle(const Communicator& communicator);

}  // namespace setrl::comm
