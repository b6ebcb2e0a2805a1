#include "topology/memory.h"

#include <algorithm>
#include <cmath>

namespace setrl::topology {

namespace {

// learn/head.cpp: elements of a chunk of logits, and the bounds of its rows.
constexpr double kLogitElements = 1 << 26, kLeastLogitRows = 64, kMostLogitRows = 4096;
// comm/limits.h: a reduction exchanges in pieces of this size, one in and one out.
constexpr double kReduceBytes = 32 << 20;
// rollout/generation.cpp and rollout/layout.h.
constexpr double kPrefillRows = 256, kPageTokens = 32;

double shard_of(std::int64_t elements, int ranks) {
  return std::ceil(static_cast<double>(elements) / ranks);
}

}  // namespace

MemoryUse learner_memory(const ModelShape& shape, const Workload& work, int learners, double groups,
                         double process_bytes) {
  const double b = work.element_bytes;
  const auto hidden = static_cast<double>(shape.hidden), inner = static_cast<double>(shape.inner);
  const auto layers = static_cast<double>(shape.layers), qkv = static_cast<double>(shape.qkv_width());
  const auto heads = static_cast<double>(shape.heads), vocabulary = static_cast<double>(shape.vocabulary);
  const auto embedding = static_cast<double>(shape.embedding_elements());
  const auto last = static_cast<double>(shape.last_elements()), block = static_cast<double>(shape.block_elements());
  const double shard = shard_of(shape.embedding_elements(), learners) +
                       layers * shard_of(shape.block_elements(), learners) + shard_of(shape.last_elements(), learners);

  MemoryUse use;
  use.process = process_bytes;
  use.weights = 4 * shard;
  use.gradients = 4 * shard;
  use.optimizer = 8 * shard;
  if (work.reference) use.gathered = b * shard;
  if (learners == 1) {
    // The master itself, or one copy in the compute dtype that is kept until the update.
    if (work.bfloat16) use.gathered += b * static_cast<double>(shape.parameters());
  } else {
    use.gathered += b * ((shape.tied_embeddings ? embedding : 0) + last + block);
    // Gradients of embedding and head are summed up whole over a micro-batch, a block's until it is reduced.
    use.gradients += 4 * (embedding + last + block);
    use.exchange = 2 * kReduceBytes + 4 * std::max(shard_of(shape.embedding_elements(), learners),
                                                   shard_of(shape.last_elements(), learners));
  }

  // Weights and moments, copied so that training goes on (store/save_work.h); a slice at a time is packed for its file.
  use.saving = 12 * shard;
  use.exchange +=
      2 * 4 * std::max(shard_of(shape.embedding_elements(), learners), shard_of(shape.last_elements(), learners));

  const MicroBatches largest = micro_batches(work, groups);
  const double rows = largest.rows;
  const double attended = heads * static_cast<double>(shape.head_size);
  const double kept = b * (2 * hidden + qkv * (shape.qk_norm ? 2 : 1) + attended + 2 * inner) + 4 * (heads + 2);
  // A block's backward: gradients of gate and up, of the product, of q, k, v and of the residual, beside their inputs.
  // Keys and values of attention are packed three ways, a head filled up to whole vectors; their gradients are float32.
  const double kv = qkv - attended;
  const double space = b * (4 * inner + 2 * qkv + 6 * hidden + 1.5 * kv) + 4 * kv;
  use.activations = rows * (work.checkpointing ? layers * b * hidden + kept + space : layers * kept + space);
  // Gradient of the final norm's output, in float32 and in the compute dtype.
  use.activations += rows * (4 + b) * hidden;

  const double chunk =
      std::min(std::clamp(kLogitElements / vocabulary, kLeastLogitRows, kMostLogitRows), largest.loss_tokens);
  use.logits = chunk * vocabulary * b;
  if (work.bfloat16) use.logits += b * vocabulary * hidden;  // one chunk's part of the head's gradient
  return use;
}

MemoryUse rollout_memory(const ModelShape& shape, const Workload& work, double groups, double process_bytes) {
  const double b = work.element_bytes, parts = work.tensor_parallel;
  const auto hidden = static_cast<double>(shape.hidden), inner = static_cast<double>(shape.inner);
  const double sequences = std::min<double>(groups * work.group, work.max_batch);
  const auto pages = [](double tokens) { return std::ceil(tokens / kPageTokens) * kPageTokens; };
  const double prompts = std::ceil(sequences / work.group);

  MemoryUse use;
  use.process = process_bytes;
  use.weights = b * static_cast<double>(shape.parameters()) / parts;
  // A completion's pages begin with its own copy of the prompt's last one.
  const double tokens = prompts * pages(work.prompt_tokens) + sequences * pages(work.new_tokens + kPageTokens / 2);
  use.kv_cache = tokens * static_cast<double>(shape.kv_elements()) * b / parts;
  if (work.kv_cache_bytes > 0) use.kv_cache = std::min(use.kv_cache, work.kv_cache_bytes);
  use.logits = (sequences + prompts) * static_cast<double>(shape.vocabulary) * 4 / parts;
  use.activations = (kPrefillRows + sequences) *
                    (4 * (2 * hidden + static_cast<double>(shape.qkv_width())) + b * (3 * hidden + inner / parts));
  // The units of a weight push as they arrive: the embedding, and two blocks that are on other hops.
  use.exchange = b * static_cast<double>(shape.embedding_elements() + 2 * shape.block_elements()) / parts;
  return use;
}

MemoryUse verifier_memory(const Workload& work, double groups, double process_bytes) {
  MemoryUse use;
  use.process = process_bytes;
  // Tokens, log-probabilities and about six bytes of text a token, twice (group and its encoding).
  use.exchange = 2 * groups * work.group_rows() * 14;
  return use;
}

MemoryUse together(const MemoryUse& a, const MemoryUse& b) {
  MemoryUse use;
  use.weights = a.weights + b.weights;
  use.gradients = a.gradients + b.gradients;
  use.optimizer = a.optimizer + b.optimizer;
  use.gathered = std::max(a.gathered, b.gathered);
  use.activations = std::max(a.activations, b.activations);
  use.kv_cache = a.kv_cache + b.kv_cache;
  use.logits = a.logits + b.logits;
  use.exchange = std::max(a.exchange, b.exchange);
  use.saving = a.saving + b.saving;
  use.process = std::max(a.process, b.process);
  return use;
}

double checkpoint_bytes(const ModelShape& shape) {
  return 12.0 * static_cast<double>(shape.parameters());
}

}  // namespace setrl::topology
