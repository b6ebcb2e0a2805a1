// What a learner rank holds and sends, by arithmetic: the forecast that `setrl bench learn` compares with what it
// measures.
#pragma once

#include <cstdint>

#include "config/run_config.h"
#include "model/model_spec.h"

namespace setrl::learn {

// Bytes that the rank with the largest shards holds from the first step to the last.
struct StateBytes {
  std::int64_t weights = 0;    // float32 masters; with adapters also the frozen weights in the compute dtype
  std::int64_t gradients = 0;  // float32
  std::int64_t optimizer = 0;  // AdamW's two moments, float32
  std::int64_t reference = 0;  // second copy for the KL term, compute dtype
  std::int64_t sum() const { return weights + gradients + optimizer + reference; }
};
// `element_bytes` of the compute dtype: 2 or 4.
StateBytes state_bytes(const model::ModelSpec& spec, const LearnSection& config, std::int64_t element_bytes, int ranks);

// Payload bytes that one rank hands to others in one update of `micro_batches` micro-batches: gathers in the compute
// dtype (each block twice where it is resharded after the forward pass) and reductions in float32. Without the pass of
// the reference model and the few bytes of agreed sums.
std::int64_t update_bytes_sent(const model::ModelSpec& spec, const LearnSection& config, std::int64_t element_bytes,
                               int ranks, std::int64_t micro_batches);

}  // namespace setrl::learn
