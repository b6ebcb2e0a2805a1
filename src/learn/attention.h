// Attention over packed groups with shared prompts. A completion's queries attend to the prompt's keys (computed once a
// group) and causally to their own completion; one running softmax goes over both (Dao, FlashAttention-2). Packed
// copies of keys and values are made once a kv head and serve all its queries; tasks are cut by the batch alone, so
// results do not depend on the number of threads. On GPUs it is put together from attention over sequences
// (grouped_attention.h). Shapes: T packed rows, H heads, N kv heads, D head size, W = (H + 2 N) D.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "learn/packing.h"

namespace setrl::learn {

struct AttentionShape {
  std::int64_t heads = 0, kv_heads = 0, size = 0;
};

struct AttentionResult {
  at::Tensor out;  // [T, H, D] compute dtype
  at::Tensor lse;  // [T, H] float32; on GPUs [H, T]
};

// qkv: [T, W], rows of queries, keys, values after RoPE.
AttentionResult attention_forward(const AttentionShape& shape, const std::vector<PackedGroup>& groups,
                                  const at::Tensor& qkv);

// d_out [T, H, D] -> d(loss)/d(qkv) [T, W].
at::Tensor attention_backward(const AttentionShape& shape, const std::vector<PackedGroup>& groups,
                              const at::Tensor& qkv, const AttentionResult& result, const at::Tensor& d_out);

}  // namespace setrl::learn
