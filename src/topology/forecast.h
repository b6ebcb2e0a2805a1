// Memory, traffic and time of a step from a configuration, a model's shape and a machine's description, for a given
// number of ranks. Pure arithmetic; docs/plan.md derives the formulas and compares them with measurements.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.h"
#include "topology/memory.h"
#include "topology/placement.h"
#include "topology/plan.h"
#include "topology/shape.h"
#include "topology/traffic.h"

namespace setrl::topology {

// Seconds.
struct StepTime {
  double prefill = 0, decode = 0;                                // of the rollout rank with the most work
  double learn_compute = 0, learn_gather = 0, learn_reduce = 0;  // of the learner with the most
  double optimizer = 0;
  double sync = 0;
  double checkpoint = 0;  // one save
  double rollout() const { return prefill + decode; }
  double learn = 0;  // compute and communication, overlapped where the back end does so, and the optimizer
  double step = 0;   // with the share of a save that falls on each step
};

struct Forecast {
  ModelShape shape;
  Workload work;
  Plan plan;
  Placement where;
  MemoryUse learner, rollout, verifier;  // of the rank with the most
  double largest_rank_bytes = 0;         // of any rank, with all its roles
  double fullest_node_bytes = 0;         // host memory
  Traffic traffic;
  StepTime time;
  double checkpoint_bytes = 0;
  double learn_flops = 0, rollout_flops = 0;  // all ranks, a step
  std::vector<std::string> misfits;           // what does not fit, each with what to change
  std::vector<std::string> notes;             // what fits and is wasteful
};

// Throws UserError where config.topology does not suit the number of ranks.
Forecast forecast(const RunConfig& config, const ModelShape& shape, int ranks);

// For the rank counts of config.plan and config.topology: how many ranks a job has.
int planned_ranks(const RunConfig& config);

}  // namespace setrl::topology
