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

// Rollout ranks hold one model together in replicas of rollout.tensor_parallel consecutive ones; the first of a replica
// is its lead, which speaks for it, the others follow the lead.
struct Plan {
  std::vector<RankPlan> ranks;     // [world size]
  std::vector<int> rollout_ranks;  // world ranks, ascending
  std::vector<int> verifier_ranks;
  std::vector<int> learner_ranks;
  int tensor_parallel = 1;  // divides the number of rollout ranks

  struct Part {
    int replica = -1, part = 0;
  };
  Part part_of(int rank) const;  // replica -1 where the rank does not generate
  int replicas() const { return static_cast<int>(rollout_ranks.size()) / tensor_parallel; }
  std::vector<int> leads() const;
  bool follows(int rank) const { return part_of(rank).part > 0; }
  std::vector<int> followers_of(int rank) const;  // none of a rank that is no lead
};

// The plan in which each rank has these roles. Throws UserError where the rollout ranks are no multiple of
// `tensor_parallel`.
Plan plan_of(std::vector<RankPlan> roles, int tensor_parallel);

// Learner ranks come first, then rollout, then verifier. Rank counts of 0 are chosen: one rank has all three roles; two
// ranks: learner, rollout+verifier; more: one verifier, the others split between rollout and learner, rollout first.
// Where rollout and learner are given and verifier is not, all other ranks verify. Counts of 1 do not stand against
// sharing on one or two ranks. With `tensor_parallel` above 1 no rank has two roles, and a chosen number of rollout
// ranks is a multiple of it. Throws UserError where the counts do not add up to `world_size` (too few or too many
// ranks), saying what to start, or where a given number of rollout ranks is no multiple.
Plan make_plan(const TopologySection& topology, int world_size, int tensor_parallel = 1);

// Human-readable table for --dry-run.
std::string describe(const Plan& plan);

}  // namespace setrl::topology
