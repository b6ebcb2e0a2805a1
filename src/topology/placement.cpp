#include "topology/placement.h"

#include <algorithm>
#include <map>

namespace setrl::topology {

namespace {

RolePlacement place_role(const std::vector<int>& ranks, int per_node, int devices) {
  RolePlacement result;
  result.ranks = static_cast<int>(ranks.size());
  std::map<int, int> nodes;
  for (const int rank : ranks) result.per_node = std::max(result.per_node, ++nodes[rank / per_node]);
  result.nodes = static_cast<int>(nodes.size());
  if (result.per_node > devices) result.device_share = static_cast<double>(devices) / result.per_node;
  return result;
}

}  // namespace

int ranks_per_node(const RunConfig& config) {
  if (config.plan.ranks_per_node > 0) return config.plan.ranks_per_node;
  const int ranks = config.plan.ranks, nodes = config.plan.nodes;
  if (ranks > 0 && nodes > 0) return (ranks + nodes - 1) / nodes;
  return config.machine.devices_per_node;
}

Placement place(const Plan& plan, const RunConfig& config) {
  Placement result;
  const int ranks = static_cast<int>(plan.ranks.size());
  result.ranks_per_node = ranks_per_node(config);
  result.nodes = (ranks + result.ranks_per_node - 1) / result.ranks_per_node;
  const int devices = config.machine.devices_per_node;
  result.learner = place_role(plan.learner_ranks, result.ranks_per_node, devices);
  result.rollout = place_role(plan.rollout_ranks, result.ranks_per_node, devices);
  result.verifier = place_role(plan.verifier_ranks, result.ranks_per_node, config.machine.cores_per_node);
  return result;
}

}  // namespace setrl::topology
