// The vocabulary projection and the log-probabilities of the loss tokens, in chunks so that [L, V] logits never exist
// whole. Shapes: T packed rows, L loss tokens, E hidden, V vocabulary.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "learn/kernels.h"
#include "learn/packing.h"

namespace setrl::learn {

struct HeadInput {
  const MicroBatch& batch;
  at::Tensor hidden;  // [T, E] after the final norm
  at::Tensor weight;  // [V, E]
  double temperature = 1;
};

// Log-probability, entropy and log-sum-exp of every loss token, [L].
std::vector<RowStats> head_stats(const HeadInput& input);

// Given the stats of loss tokens [begin, end), writes d(loss)/d(logprob) of each.
using LossGradient = std::function<void(std::int64_t begin, std::int64_t end, const RowStats* stats, float* gradient)>;

// Runs the head once more (or for the first time) and backwards, chunk by chunk in order. Returns d(loss)/d(hidden) [T,
// E] in the compute dtype; adds to weight_gradient [V, E] float32.
at::Tensor head_backward(const HeadInput& input, const LossGradient& loss_gradient, at::Tensor weight_gradient);

}  // namespace setrl::learn
