// How fast a learn step is, and how near to what the matrix products of the CPU or GPU allow.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "comm/communicator.h"
#include "config/run_config.h"
#include "model/weight_source.h"

namespace setrl::learn {

struct LearnBench {
  double learn_s = 0;       // one reinforce() over all ranks' groups: the last step (the first warms up)
  double tokens_per_s = 0;  // completion tokens and prompts, each prompt once
  double fraction_of_limit = 0;
  double gemm_flops =
      0;  // measured in this process with a large square product in the compute dtype, all ranks together
  std::int64_t peak_rss_bytes = 0;  // the largest of any rank, as all that follow
  // Weights, gradients and optimizer of a rank: by arithmetic (memory.h), and how much the process (on a GPU: what
  // tensors take of its memory) has grown by the learner once all steps are done and scratch memory is given back.
  std::int64_t state_bytes = 0, measured_state_bytes = 0;
  // By how much it had grown before by a gather and a reduction of the largest unit: what MPI keeps for its messages.
  std::int64_t communicator_bytes = 0;
  // What a rank sent to others in the last step, counted by the communicator; and by arithmetic.
  std::int64_t sent_bytes = 0, planned_sent_bytes = 0;
  bool bfloat16 = false;  // compute dtype
  int steps = 0;          // that were done
  // On a GPU, of LibTorch's allocator: the most that tensors took, what it has taken from the device in the end, and by
  // how much that grew after the second step (memory falling to pieces).
  std::int64_t device_peak_bytes = 0, device_reserved_bytes = 0, device_growth_bytes = 0;
};

// The work of a GRPO step: config.bench.prompts groups of config.bench.group completions, random tokens,
// config.bench.prompt and config.bench.new_tokens long; config.bench.steps times (0: 2, on a GPU 5). The limit is 6 *
// parameters * tokens (each prompt once) at the measured speed of a matrix product. Collective; groups are spread over
// the ranks. Sizes below 1 are user errors.
LearnBench bench_learn(const RunConfig& config, const model::WeightSource& weights, comm::Communicator& communicator,
                       at::Device device = at::kCPU);

}  // namespace setrl::learn
