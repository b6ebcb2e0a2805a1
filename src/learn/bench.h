// How fast a learn step is, and how near to what the CPU's matrix products allow.
#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "config/run_config.h"
#include "model/weight_source.h"

namespace setrl::learn {

struct LearnBench {
  double learn_s = 0;       // one reinforce() over all ranks' groups, the second of two (the first warms up)
  double tokens_per_s = 0;  // completion tokens and prompts, each prompt once
  double fraction_of_limit = 0;
  double gemm_flops =
      0;  // measured in this process with a large square product in the compute dtype, all ranks together
  std::int64_t peak_rss_bytes = 0;  // the largest of any rank, as the next four
  // Weights, gradients and optimizer of a rank: by arithmetic (memory.h), and how much the process has grown by the
  // learner once both steps are done and scratch memory is given back.
  std::int64_t state_bytes = 0, measured_state_bytes = 0;
  // By how much it had grown before by a gather and a reduction of the largest unit: what MPI keeps for its messages.
  std::int64_t communicator_bytes = 0;
  // What a rank sent to others in the second step, counted by the communicator; and by arithmetic.
  std::int64_t sent_bytes = 0, planned_sent_bytes = 0;
  bool bfloat16 = false;  // compute dtype
};

// The work of a GRPO step: config.bench.prompts groups of config.bench.group completions, random tokens,
// config.bench.prompt and config.bench.new_tokens long. The limit is 6 * parameters * tokens (each prompt once) at the
// measured speed of a matrix product. Collective; groups are spread over the ranks. Sizes below 1 are user errors.
LearnBench bench_learn(const RunConfig& config, const model::WeightSource& weights, comm::Communicator& communicator);

}  // namespace setrl::learn
