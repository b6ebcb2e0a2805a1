// Which ranks of a plan share a node: ranks fill node after node.
#pragma once

#include "config/run_config.h"
#include "topology/plan.h"

namespace setrl::topology {

struct RolePlacement {
  int ranks = 0;
  int nodes = 0;     // that hold at least one rank of the role
  int per_node = 0;  // the most on one node
  // What one rank gets of a device, where the fullest node has more ranks of the role than devices.
  double device_share = 1;
};

struct Placement {
  int nodes = 0, ranks_per_node = 0;
  RolePlacement learner, rollout, verifier;
};

Placement place(const Plan& plan, const RunConfig& config);

// plan.ranks_per_node, or one rank a device.
int ranks_per_node(const RunConfig& config);

}  // namespace setrl::topology
