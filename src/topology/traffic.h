// Bytes that move in a step, by link. Per rank where not said otherwise.
#pragma once

#include "topology/placement.h"
#include "topology/shape.h"
#include "topology/workload.h"

namespace setrl::topology {

struct Traffic {
  double micro_batches = 0;   // of the learner rank with the most
  double gather = 0;          // received by a learner: units whole in the compute dtype
  double gathers = 0;         // number of these collectives
  double reduce_scatter = 0;  // sent by a learner: gradients in float32
  double reduces = 0;
  double push_send = 0;    // sent by a learner: its shard, once (sync/push_schedule.h)
  double push = 0;         // received by a rollout rank: new weights
  double push_relay = 0;   // sent on by a rollout rank to its like in other replicas
  double groups = 0;       // all ranks: groups from rollout to verifier and on to the learner
};

Traffic traffic_of(const ModelShape& shape, const Workload& work, const Placement& where);

// The most groups that one of `ranks` gets.
double groups_of_one(const Workload& work, int ranks);

}  // namespace setrl::topology
