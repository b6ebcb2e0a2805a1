// For tests that run under mpirun (setrl_test with RANKS).
//
// Every rank runs every test. A test has failed where it failed on any rank; then the next test starts, on all ranks
// together and with a fresh communicator. A rank that does not come back from a test is named by the others, and the
// program ends, within SETRL_TEST_DEADLINE_S seconds (environment, default 60).
#pragma once

#include "comm/communicator.h"
#include "comm/mpi_runtime.h"

namespace setrl::testing {

// All ranks, in a communicator made for the running test: what an earlier test left in it is gone. Its verbs wait a
// third of SETRL_TEST_DEADLINE_S at most.
comm::Communicator& world();

// What MPI is asked for. A program whose tests let a second thread into MPI sets it before main.
extern comm::Threads threads_wanted;

// For tests of the deadline itself. The deadline and the limits are put back after each test.
comm::MpiRuntime& runtime();

}  // namespace setrl::testing
