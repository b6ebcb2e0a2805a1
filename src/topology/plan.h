// Pure arithmetic: configuration and number of ranks -> which rank has which roles. No process is started, nothing
// sent.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.h"

namespace setrl::topology {

struct RankPlan {
  bool rollout = false;
  bool verifier = false;
  bool learner = false;
  std::string role_name() const;  // "learner", "rollout+learner", "colocated", ...
};

struct Plan {
  std::vector<RankPlan> ranks;     // [world size]
  std::vector<int> rollout_ranks;  // world ranks, ascending
  std::vector<int> verifier_ranks;
  std::vector<int> learner_ranks;
};

// Learner ranks come first, then rollout, then verifier. Rank counts of 0 are chosen: one rank has all three roles; two
// ranks: learner, rollout+verifier; more: one verifier, the others split between rollout and learner, rollout first.
// Where rollout and learner are given and verifier is not, all other ranks verify. Counts of 1 do not stand against
// sharing on one or two ranks. Throws UserError where the counts do not add up to `world_size` (too few or too many
// ranks), saying what to start.
Plan make_plan(const TopologySection& topology, int world_size);

// Human-readable table for --dry-run.
std::string describe(const Plan& plan);

}  // namespace setrl::topology
