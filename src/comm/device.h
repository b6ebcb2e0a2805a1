// The GPU of this process, where the build has the NCCL back end (SETRL_CUDA=ON). In other builds what needs a
// GPU throws UserError that says so.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/mpi_runtime.h"

namespace setrl::comm {

// Whether this build has the back end.
bool built_for_devices();

// Whether every host has a GPU for each of its ranks. Collective over `world`; false in builds without the back end.
bool has_devices(Communicator& world);

// Chooses this process's GPU: ranks on one host take one each, in the order of ranks. Collective over `world`. Throws
// UserError where a host has fewer GPUs than ranks. Returns the device's number.
int select_device(Communicator& world);

// Collective over `host`, which it takes: the communicator of the same ranks for memory of their GPUs, selected before.
std::unique_ptr<Communicator> make_device_communicator(MpiRuntime& runtime, std::unique_ptr<Communicator> host);

}  // namespace setrl::comm
