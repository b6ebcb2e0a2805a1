// How per-token losses are averaged into the loss of a step.
#pragma once

#include <cstdint>
#include <string>

namespace setrl::learn {

// Unmasked completions and their tokens, summed over all ranks.
struct BatchTotals {
  double tokens = 0, sequences = 0;
};

// Weight of each token of a completion of `length` tokens. kind: token_mean, 1 / tokens (DAPO); sequence_mean,
// 1 / (sequences * length) (GRPO); fixed_length, 1 / (sequences * max_length) (Dr. GRPO). UserError on another kind.
double token_weight(const std::string& kind, const BatchTotals& totals, std::int64_t length, std::int64_t max_length);

}  // namespace setrl::learn
