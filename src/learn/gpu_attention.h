// Attention over sequences of packed rows on NVIDIA GPUs, forward and backward, on plain pointers (Dao,
// FlashAttention-2). Simple kernels without tensor cores: for float32, for head sizes that LibTorch's flash attention
// does not take, and as the tested reference of its use. Sums have a fixed order.
#pragma once

#include <cstdint>

#include "learn/gpu_kernels.h"

namespace setrl::learn::gpu {

// Sequence s: query rows [q_begins[s], q_begins[s + 1]) and key rows [k_begins[s], k_begins[s + 1]), int32 on the
// device. Causal: query i of a sequence sees its keys 0 to i. A query row holds `heads` heads of `size` numbers, a key
// or value row `kv_heads`; rows are strides apart. At most 256 numbers a head.
struct VarlenShape {
  std::int64_t sequences = 0, longest_q = 0, longest_k = 0;
  std::int64_t heads = 0, kv_heads = 0, size = 0;
  std::int64_t q_rows = 0;  // of all sequences
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  float scale = 1;
  bool causal = false;
  const std::int32_t *q_begins = nullptr, *k_begins = nullptr;
};

// out [q_rows, heads, size]; lse [heads, q_rows]: natural log of the sum of exponentials of the scaled scores. A query
// that sees no key gets 0 and minus infinity.
template <typename T>
void attention_forward(const VarlenShape& shape, const T* q, const T* k, const T* v, T* out, float* lse, Stream stream);

// out and lse may be those of a softmax over more keys than these: the gradients are this part's share then.
// delta: scratch [heads, q_rows]. dq [q_rows, heads, size], dk and dv [key rows, kv_heads, size].
template <typename T>
void attention_backward(const VarlenShape& shape, const T* q, const T* k, const T* v, const T* out, const float* lse,
                        const T* d_out, float* delta, T* dq, T* dk, T* dv, Stream stream);

// Attention over two disjoint sets of keys from that over each: `part` [count, heads, size] with part_lse [heads,
// count] belongs to rows rows[i] of out [q_rows, heads, size] and lse [heads, q_rows], which become those of both.
template <typename T>
void attention_merge(const std::int32_t* rows, std::int64_t count, std::int64_t q_rows, std::int64_t heads,
                     std::int64_t size, const T* part, const float* part_lse, T* out, float* lse, Stream stream);

}  // namespace setrl::learn::gpu
