#include "topology/traffic.h"

#include <algorithm>
#include <cmath>

namespace setrl::topology {

double groups_of_one(const Workload& work, int ranks) {
  return std::ceil(static_cast<double>(work.prompts) / std::max(ranks, 1));
}

Traffic traffic_of(const ModelShape& shape, const Workload& work, const Placement& where) {
  const double b = work.element_bytes, learners = where.learner.ranks;
  const double others = (learners - 1) / learners;  // what a rank does not hold itself
  const auto embedding = static_cast<double>(shape.embedding_elements());
  const auto last = static_cast<double>(shape.last_elements());
  const double blocks = static_cast<double>(shape.layers) * static_cast<double>(shape.block_elements());
  const double all = embedding + blocks + last;

  Traffic traffic;
  traffic.micro_batches = micro_batches(work, groups_of_one(work, where.learner.ranks)).count;
  const double passes = traffic.micro_batches * work.updates;
  // learn/network.cpp: every unit in the forward, the blocks again in the backward; the reference once.
  traffic.gather = passes * (all + blocks) * b * others;
  traffic.gathers = passes * (2.0 * static_cast<double>(shape.layers) + 2);
  if (work.reference) {
    traffic.gather += traffic.micro_batches * all * b * others;
    traffic.gathers += traffic.micro_batches * (static_cast<double>(shape.layers) + 2);
  }
  traffic.reduce_scatter = passes * all * 4 * others;
  traffic.reduces = passes * (static_cast<double>(shape.layers) + 2);
  const double replicas = where.rollout.ranks / work.tensor_parallel;
  traffic.push_send = all * b / learners;
  traffic.push = all * b / work.tensor_parallel;
  traffic.push_relay = traffic.push * (replicas - 1) / replicas;
  // Per token an id and a log-probability (4 bytes each) and about 4 of text in the trajectory's copy; two journeys.
  traffic.groups = 2 * (work.sequences() * work.new_tokens * 12 + work.prompts * work.prompt_tokens * 8);
  return traffic;
}

}  // namespace setrl::topology
