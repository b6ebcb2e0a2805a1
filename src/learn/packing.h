// A training batch as micro-batches of packed tokens without padding. A group lies as [prompt, completion 1, completion
// 2, ...]: the prompt once, every completion continuing its positions. The last token of a completion predicts nothing
// and is left out of the input.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "records/training_batch.h"

namespace setrl::learn {

struct PackedGroup {
  std::int64_t prompt_begin = 0, prompt_rows = 0;
  std::int64_t completions_begin = 0;         // = prompt_begin + prompt_rows
  std::vector<std::int64_t> completion_rows;  // rows of each completion (its tokens less one), may be 0
  std::int64_t completions_rows() const {
    std::int64_t sum = 0;
    for (const auto rows : completion_rows) sum += rows;
    return sum;
  }
};

// One completion: its loss tokens are [loss_begin, loss_begin + count) of the micro-batch's. Forced tokens are input
// like all others, but none of these.
struct PackedSequence {
  const TrainingSequence* sequence = nullptr;  // borrowed from the batch
  std::size_t group = 0, index = 0;            // its place in the batch
  std::int64_t loss_begin = 0, count = 0;
  std::vector<float> rollout_logprobs;  // [count], or empty
};

struct MicroBatch {
  std::vector<PackedGroup> groups;
  std::vector<PackedSequence> sequences;
  at::Tensor ids, positions;          // [T] int64
  at::Tensor loss_rows;               // [L] int64: the row whose hidden state predicts each loss token
  std::vector<std::int32_t> targets;  // [L]
  std::int64_t rows() const { return ids.defined() ? ids.size(0) : 0; }
};

// Groups in the order of their index, as many as fit `token_budget` together; a group that exceeds the budget alone is
// split by completions, its prompt computed again in each part (the gradient is a sum over completions, so this is
// exact). Left out are sequences without tokens and, unless `everything` is asked for, masked sequences, those of
// forced tokens only, and forced tokens among the loss tokens. Token ids must lie below `vocabulary`.
std::vector<MicroBatch> pack(const TrainingBatch& batch, std::int64_t token_budget, std::int64_t vocabulary,
                             bool everything);

}  // namespace setrl::learn
