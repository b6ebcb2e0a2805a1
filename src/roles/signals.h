// SIGTERM and SIGUSR2 ask for a save and a clean stop; a second one ends the process at once.
#pragma once

#include "comm/communicator.h"

namespace setrl::roles {

void install_signal_handlers();

// Whether this rank has been asked to stop.
bool signal_received();

// True on every rank of the communicator once any of them has been asked to stop, or knows of one (`known`).
// Collective.
bool stop_requested(comm::Communicator& ranks, bool known = false);

}  // namespace setrl::roles
