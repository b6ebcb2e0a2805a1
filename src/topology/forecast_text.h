// The forecast as a table for people.
#pragma once

#include <string>

#include "topology/forecast.h"

namespace setrl::topology {

std::string describe(const Forecast& forecast, const MachineSection& machine);

}  // namespace setrl::topology
