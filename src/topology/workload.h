// The work of a step as numbers, taken from a configuration.
#pragma once

#include <cstdint>

#include "config/run_config.h"

namespace setrl::topology {

struct Workload {
  int prompts = 0, group = 0;                // problems of a step, completions of each
  double prompt_tokens = 0, new_tokens = 0;  // mean lengths
  std::int64_t micro_batch_tokens = 0;
  int max_batch = 0, updates = 1;
  double kv_cache_bytes = 0;    // most of a rollout rank, 0 = no limit
  std::int64_t save_every = 0;  // steps between checkpoints, 0 = only at the end
  double element_bytes = 2;     // compute dtype
  bool bfloat16 = true;
  bool checkpointing = false;  // of activations
  bool reference = false;      // a second copy of the initial weights (KL)
  int tensor_parallel = 1;

  double sequences() const { return static_cast<double>(prompts) * group; }
  // Rows that the learner computes for one group: the prompt once.
  double group_rows() const { return prompt_tokens + group * new_tokens; }
};

// Lengths that plan.* does not give are the longest allowed. `auto` dtype is taken as bfloat16.
Workload workload_of(const RunConfig& config);

// How the rows of `groups` groups fall into micro-batches (learn/packing.h): their number, and the rows of the largest
// with the loss tokens among them.
struct MicroBatches {
  double count = 0;
  double rows = 0;
  double loss_tokens = 0;
};
MicroBatches micro_batches(const Workload& work, double groups);

}  // namespace setrl::topology
