// The communicator that communicator_mpi_test.cpp tests: over MPI, or over the stand-in for NCCL.
#pragma once

#include "comm/communicator.h"

namespace setrl::comm::under_test {

// Of all ranks; one for each test. The first call in a test is collective.
Communicator& world();
// Whether MPI's limits (comm/limits.h) matter to it.
bool has_limits();

}  // namespace setrl::comm::under_test
