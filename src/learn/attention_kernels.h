// Attention of one kv head over packed keys, forward and backward, in blocks that stay in the first cache levels
// (Dao, FlashAttention-2). Plain pointers, compiled for several instruction sets like kernels.h. T is float or
// Bfloat16; products are summed in float32, and probabilities are rounded to T before they are multiplied.
//
// The right-hand side of every product lies packed in words of 32 bits, a word holding one float or two neighbouring
// bfloat16 numbers of the summed dimension; P is the numbers a word (1 or 2). A matrix X of rows x size is packed in
// blocks of kKeyBlock rows, filled up with zeros, in two ways:
//   columns: [size / P][kKeyBlock] words: sums over the size, its products have a lane a row of X;
//   rows:    [kKeyBlock / P][padded size] words: sums over rows of X.
#pragma once

#include <cstdint>

namespace setrl::learn {

struct Bfloat16;

constexpr std::int64_t kKeyBlock = 64;   // rows of X a block
constexpr std::int64_t kQueryTile = 96;  // queries that a block of keys is used for at once

constexpr std::int64_t padded_size(std::int64_t size) {
  return (size + 15) / 16 * 16;
}
constexpr std::int64_t key_blocks(std::int64_t rows) {
  return (rows + kKeyBlock - 1) / kKeyBlock;
}
// Numbers of T that one packed matrix takes; the same for both ways.
constexpr std::int64_t packed_numbers(std::int64_t rows, std::int64_t size) {
  return key_blocks(rows) * kKeyBlock * padded_size(size);
}

// Keys and values of one kv head in neighbouring rows of a sequence.
template <typename T>
struct PackedKeys {
  std::int64_t rows = 0;
  const T *k_columns = nullptr, *k_rows = nullptr;
  const T *v_columns = nullptr, *v_rows = nullptr;
  float *dk = nullptr, *dv = nullptr;  // backward: [rows up to a whole block, padded size], added to
};

// Queries of one head in neighbouring rows of a sequence. They see all `shared` keys and, of their `own`, those up to
// their own row (causal): row i of the sequence sees own keys 0 to i.
template <typename T>
struct AttentionQueries {
  std::int64_t begin = 0, end = 0, size = 0;  // rows within the sequence; head size
  float scale = 1;                            // of the scores
  const T* q = nullptr;                       // row 0 of the sequence; row i at i * q_stride
  std::int64_t q_stride = 0;
  T* out = nullptr;  // written by forward, read by backward
  std::int64_t out_stride = 0;
  float* lse = nullptr;  // natural log of the sum of exponentials of the scaled scores; as out
  std::int64_t lse_stride = 0;
  const T* d_out = nullptr;  // backward; stride as out
  T* dq = nullptr;           // backward, written; stride as q
  PackedKeys<T> shared, own;
};

template <typename T>
struct AttentionKernels {
  // x: rows of `size` numbers, `stride` apart. `columns` and `rows_out` have packed_numbers numbers; either may be
  // null.
  void (*pack)(const T* x, std::int64_t stride, std::int64_t rows, std::int64_t size, T* columns, T* rows_out);
  // Scratch: a thread's own memory of attention_scratch_bytes, aligned to 64 bytes.
  void (*forward)(const AttentionQueries<T>& queries, void* scratch);
  void (*backward)(const AttentionQueries<T>& queries, void* scratch);
};

// For forward or backward, either T.
constexpr std::int64_t attention_scratch_bytes(std::int64_t size) {
  // Two tiles of scores in float32, the same in T three times; sums of a tile; queries and gradients packed.
  return 4 * kQueryTile * kKeyBlock * 5 + 4 * kQueryTile * padded_size(size) + 4 * kQueryTile * 3 +
         2 * 4 * ((kQueryTile + kKeyBlock) * padded_size(size)) + 1024;
}

}  // namespace setrl::learn
