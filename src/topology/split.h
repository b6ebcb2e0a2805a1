// The best division of a number of ranks into roles.
#pragma once

#include <optional>

#include "topology/forecast.h"

namespace setrl::topology {

// The quickest step among the divisions in which everything fits, counts of config.topology that are not 0 kept;
// nothing where none fits. On machines with GPUs learners and rollouts get whole nodes where there are three nodes or
// more.
std::optional<TopologySection> best_split(const RunConfig& config, const ModelShape& shape, int ranks);

}  // namespace setrl::topology
