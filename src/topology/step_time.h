// Seconds of a step's phases on a machine. Internal to topology.
#pragma once

#include "topology/forecast.h"

namespace setrl::topology {

// Fills time, learn_flops and rollout_flops from the rest of `forecast`.
void add_step_time(Forecast& forecast, const MachineSection& machine);

}  // namespace setrl::topology
