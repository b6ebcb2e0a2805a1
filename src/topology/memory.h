// Bytes that one rank of each role needs, by what they are for. The formulas follow learn/sharded_parameters.h,
// learn/network.cpp, learn/head.cpp and rollout/{weights,kv_cache,forward}.h.
#pragma once

#include "topology/shape.h"
#include "topology/workload.h"

namespace setrl::topology {

struct MemoryUse {
  double weights = 0;      // master shard (learner), packed copy (rollout)
  double gradients = 0;    // shard, and whole gradients of the units in work
  double optimizer = 0;    // AdamW's two moments
  double gathered = 0;     // whole units in the compute dtype, reference weights
  double activations = 0;  // kept for the backward, and the work space of a block
  double kv_cache = 0;
  double logits = 0;
  double exchange = 0;  // buffers of communication
  double saving = 0;    // the copy that a save in the background writes from
  double process = 0;   // what a process holds before any model

  double total() const {
    return weights + gradients + optimizer + gathered + activations + kv_cache + logits + exchange + saving + process;
  }
};

// `groups`: the most groups that one of `learners` ranks trains on in a step.
MemoryUse learner_memory(const ModelShape& shape, const Workload& work, int learners, double groups,
                         double process_bytes);

// `groups`: the most groups that one rollout rank generates in a step.
MemoryUse rollout_memory(const ModelShape& shape, const Workload& work, double groups, double process_bytes);

// Parses texts: the process and the texts of its groups.
MemoryUse verifier_memory(const Workload& work, double groups, double process_bytes);

// Of a rank that has several roles: work space is reused where roles work in turn, what is kept adds up.
MemoryUse together(const MemoryUse& a, const MemoryUse& b);

// Parameters and AdamW's moments in float32.
double checkpoint_bytes(const ModelShape& shape);

}  // namespace setrl::topology
