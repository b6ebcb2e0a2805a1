// Included by kernels_impl.h only. Internal linkage and no library templates, as there. One product routine serves all
// seven products: accumulators in registers, the packed right-hand side read from the first cache level, the left-hand
// side broadcast word by word.
#pragma once

#include "learn/attention_kernels.h"
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#ifdef __AMX_BF16__
#include "learn/attention_tiles_impl.h"
#endif

namespace setrl::learn {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kPanelVectors = 4;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kPanelVectors = 2;
#else
constexpr int kLanes = 4, kPanelVectors = 2;
#endif
constexpr int kPanelRows = 6;
#ifdef __AMX_BF16__
constexpr bool kTiles = true;
constexpr std::int64_t kCausalRows = kTileRows;
#else
constexpr bool kTiles = false;
constexpr std::int64_t kCausalRows = 4 * kPanelRows;
inline void release_tiles() {}
#endif

// c (+)= a @ b. Steps count words (a, b) and floats (c). b has `vectors` vectors of lanes.
struct Product {
  const void* a;
  std::int64_t row_step, depth_step;
  const void* b;
  std::int64_t b_step;
  float* c;
  std::int64_t c_step;
  std::int64_t rows, vectors, depth;
  bool add;
};

using FloatVector __attribute__((vector_size(4 * kLanes), aligned(4), may_alias)) = float;
using WordVector __attribute__((vector_size(4 * kLanes), aligned(4), may_alias)) = std::uint32_t;

// Numbers of T in a word.
template <typename T>
constexpr std::int64_t kPack = static_cast<std::int64_t>(4 / sizeof(T));

// Depths (in words) and rows of weights are filled up with zeros to multiples of these.
template <typename T>
constexpr std::int64_t kDepthStep = kTiles && kPack<T> == 2 ? 16 : 1;
template <typename T>
constexpr std::int64_t whole_depth(std::int64_t words) {
  return (words + kDepthStep<T> - 1) / kDepthStep<T> * kDepthStep<T>;
}

inline std::uint32_t load_word(const void* at, std::int64_t index) {
  std::uint32_t word;
  __builtin_memcpy(&word, static_cast<const char*>(at) + 4 * index, sizeof(word));
  return word;
}

inline FloatVector add_products(FloatVector sum, std::uint32_t a, WordVector b, const float* /*type*/) {
  return sum + bits_to_float(a) * reinterpret_cast<FloatVector>(b);
}
inline FloatVector add_products(FloatVector sum, std::uint32_t a, WordVector b, const Bfloat16* /*type*/) {
#ifdef __AVX512BF16__
  return reinterpret_cast<FloatVector>(_mm512_dpbf16_ps(
      reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a))),
      reinterpret_cast<__m512bh>(b)));
#else
  sum += bits_to_float(a << 16) * reinterpret_cast<FloatVector>(b << 16);
  return sum + bits_to_float(a & 0xffff0000u) * reinterpret_cast<FloatVector>(b & 0xffff0000u);
#endif
}

template <typename T, int kRows, int kVectors>
void product_panel(const Product& p, std::int64_t row, std::int64_t vector) {
  FloatVector sum[kRows][kVectors];
  float* c = p.c + row * p.c_step + vector * kLanes;
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      sum[i][j] = p.add ? *reinterpret_cast<const FloatVector*>(c + i * p.c_step + j * kLanes) : FloatVector{};
    }
  }
  const char* b = static_cast<const char*>(p.b) + 4 * vector * kLanes;
  const char* a = static_cast<const char*>(p.a) + 4 * row * p.row_step;
  for (std::int64_t k = 0; k < p.depth; ++k) {
    WordVector words[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) words[j] = *reinterpret_cast<const WordVector*>(b + 4 * j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const std::uint32_t word = load_word(a, i * p.row_step);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        sum[i][j] = add_products(sum[i][j], word, words[j], static_cast<const T*>(nullptr));
      }
    }
    a += 4 * p.depth_step;
    b += 4 * p.b_step;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) *reinterpret_cast<FloatVector*>(c + i * p.c_step + j * kLanes) = sum[i][j];
  }
}

template <typename T, int kVectors>
void product_rows(const Product& p, std::int64_t vector) {
  std::int64_t row = 0;
  for (; row + kPanelRows <= p.rows; row += kPanelRows) product_panel<T, kPanelRows, kVectors>(p, row, vector);
  switch (p.rows - row) {
    case 5: return product_panel<T, 5, kVectors>(p, row, vector);
    case 4: return product_panel<T, 4, kVectors>(p, row, vector);
    case 3: return product_panel<T, 3, kVectors>(p, row, vector);
    case 2: return product_panel<T, 2, kVectors>(p, row, vector);
    case 1: return product_panel<T, 1, kVectors>(p, row, vector);
    default: return;
  }
}

template <typename T>
void product(const Product& p) {
#ifdef __AMX_BF16__
  if (kPack<T> == 2 && p.depth % kDepthStep<T> == 0 && p.depth_step == 1) return tile_product(p);
#endif
  std::int64_t vector = 0;
  for (; vector + kPanelVectors <= p.vectors; vector += kPanelVectors) product_rows<T, kPanelVectors>(p, vector);
  if constexpr (kPanelVectors == 4) {
    if (p.vectors - vector >= 2) {
      product_rows<T, 2>(p, vector);
      vector += 2;
    }
  }
  if (vector < p.vectors) product_rows<T, 1>(p, vector);
}

inline std::uint32_t pair(const float& x, const float* /*second*/) {
  return float_to_bits(x);
}
inline std::uint32_t pair(const Bfloat16& x, const Bfloat16* second) {
  return x.bits | (second == nullptr ? 0u : static_cast<std::uint32_t>(second->bits) << 16);
}

// Rows [0, rows) of x as the rows form of one block of `depth` words.
template <typename T>
void pack_rows(const T* x, std::int64_t stride, std::int64_t rows, std::int64_t size, std::int64_t depth,
               std::uint32_t* out) {
  const std::int64_t width = padded_size(size);
  for (std::int64_t k = 0; k < depth; ++k, out += width) {
    const std::int64_t row = k * kPack<T>;
    const T* first = x + row * stride;
    std::int64_t i = 0;
    if (row + 1 < rows) {
#pragma omp simd
      for (i = 0; i < size; ++i) out[i] = pair(first[i], first + stride + i);
    } else if (row < rows) {
      for (i = 0; i < size; ++i) out[i] = pair(first[i], static_cast<const T*>(nullptr));
    } else {
      i = 0;
    }
    for (i = row < rows ? size : 0; i < width; ++i) out[i] = 0;
  }
}

template <typename T>
void attention_pack(const T* x, std::int64_t stride, std::int64_t rows, std::int64_t size, T* columns, T* rows_out) {
  const std::int64_t block_words = kKeyBlock * padded_size(size) / kPack<T>;
  for (std::int64_t block = 0; block < key_blocks(rows); ++block) {
    const T* first = x + block * kKeyBlock * stride;
    const std::int64_t left = rows - block * kKeyBlock, count = left < kKeyBlock ? left : kKeyBlock;
    if (rows_out != nullptr) {
      pack_rows(first, stride, count, size, kKeyBlock / kPack<T>,
                reinterpret_cast<std::uint32_t*>(rows_out) + block * block_words);
    }
    if (columns == nullptr) continue;
    std::uint32_t* out = reinterpret_cast<std::uint32_t*>(columns) + block * block_words;
    for (std::int64_t k = 0; k < size / kPack<T>; ++k, out += kKeyBlock) {
      for (std::int64_t row = 0; row < count; ++row) out[row] = load_word(first + row * stride, k);
      for (std::int64_t row = count; row < kKeyBlock; ++row) out[row] = 0;
    }
  }
}

// Keys [64 * block, ...) of a sequence as one tile of queries sees them: row i sees the first limit(i) keys.
struct KeyBlock {
  std::int64_t block = 0, first_row = 0;  // rows of the tile before first_row see none
  std::int64_t keys = 0;                  // the most that any row sees
  std::int64_t step = 0, offset = 0;      // limit(i) = min(keys, offset + step * i)
  std::int64_t limit(std::int64_t row) const {
    const std::int64_t seen = offset + step * row;
    return seen < keys ? seen : keys;
  }
  // How many weights of a row are written: zeros behind the keys that it sees.
  template <typename T>
  std::int64_t lanes() const {
    const std::int64_t whole = kDepthStep<T> * kPack<T> > kLanes ? kDepthStep<T> * kPack<T> : kLanes;
    return (keys + whole - 1) / whole * whole;
  }
};

// Calls body(keys, KeyBlock) for every block that rows [begin, end) see, shared ones first.
template <typename T, typename Body>
void for_each_block(const AttentionQueries<T>& queries, std::int64_t begin, std::int64_t end, const Body& body) {
  for (std::int64_t block = 0; block < key_blocks(queries.shared.rows); ++block) {
    const std::int64_t left = queries.shared.rows - block * kKeyBlock;
    body(queries.shared, KeyBlock{block, 0, left < kKeyBlock ? left : kKeyBlock, 0, kKeyBlock});
  }
  for (std::int64_t block = 0; block * kKeyBlock < end; ++block) {
    const std::int64_t first_key = block * kKeyBlock, left = end - first_key;
    body(queries.own, KeyBlock{block, first_key > begin ? first_key - begin : 0, left < kKeyBlock ? left : kKeyBlock, 1,
                               begin + 1 - first_key});
  }
}

// Cuts scratch memory into arrays.
struct Scratch {
  char* at;
  template <typename V>
  V* take(std::int64_t count) {
    V* result = reinterpret_cast<V*>(at);
    at += (count * static_cast<std::int64_t>(sizeof(V)) + 63) / 64 * 64;
    return result;
  }
};

template <typename T>
const void* block_of(const T* packed, const KeyBlock& block, std::int64_t size) {
  return packed + block.block * kKeyBlock * padded_size(size);
}

// Calls body(row, end, limit) for pieces of a tile's rows, of which the last sees `limit` keys: all rows at once where
// they see the same, a few where each sees one more.
template <typename Body>
void for_each_piece(const KeyBlock& block, std::int64_t rows, const Body& body) {
  const std::int64_t most = block.step == 0 ? rows : kCausalRows;
  for (std::int64_t row = block.first_row; row < rows; row += most) {
    const std::int64_t end = row + most < rows ? row + most : rows;
    body(row, end, block.limit(end - 1));
  }
}

// Scores or their gradients: rows of x [tile rows, size] times the columns of a block, into [tile rows, kKeyBlock].
// Numbers of keys that a row does not see are left undefined.
template <typename T>
void times_columns(const T* x, std::int64_t stride, const T* columns, const KeyBlock& block, std::int64_t rows,
                   std::int64_t size, float* out) {
  for_each_piece(block, rows, [&](std::int64_t row, std::int64_t end, std::int64_t limit) {
    product<T>({x + row * stride, stride / kPack<T>, 1, block_of(columns, block, size), kKeyBlock,
                out + row * kKeyBlock, kKeyBlock, end - row, (limit + kLanes - 1) / kLanes, size / kPack<T>, false});
  });
}

// sum [tile rows, padded size] += weights [tile rows, kKeyBlock] times the rows of a block.
template <typename T>
void add_times_rows(const T* weights, const T* packed, const KeyBlock& block, std::int64_t rows, std::int64_t size,
                    float* sum) {
  const std::int64_t width = padded_size(size);
  for_each_piece(block, rows, [&](std::int64_t row, std::int64_t end, std::int64_t limit) {
    product<T>({weights + row * kKeyBlock, kKeyBlock / kPack<T>, 1, block_of(packed, block, size), width,
                sum + row * width, width, end - row, width / kLanes,
                whole_depth<T>((limit + kPack<T> - 1) / kPack<T>), true});
  });
}

// What each row of a tile knows so far.
struct RunningSoftmax {
  float largest, sum;
};

// One row of scores becomes probabilities relative to the largest score so far; `out` [width] is rescaled to it.
template <typename T>
void softmax_row(float* scores, std::int64_t limit, std::int64_t lanes, float scale, RunningSoftmax& state, float* out,
                 std::int64_t width, T* probabilities) {
  const float none = -__builtin_inff();
  float largest = state.largest;
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < lanes; ++i) {
    const float v = i < limit ? scores[i] * scale : none;
    scores[i] = v;
    largest = v > largest ? v : largest;
  }
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < lanes; ++i) {
    const float p = i < limit ? exp_approx(scores[i] - largest) : 0.0f;
    sum += p;
    store(probabilities[i], p);
  }
  if (largest != state.largest) {
    const float keep = exp_approx(state.largest - largest);
    state.sum *= keep;
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) out[i] *= keep;
    state.largest = largest;
  }
  state.sum += sum;
}

template <typename T>
void attention_forward_rows(const AttentionQueries<T>& queries, void* memory) {
  const std::int64_t size = queries.size, width = padded_size(size);
  Scratch scratch{static_cast<char*>(memory)};
  float* scores = scratch.take<float>(kQueryTile * kKeyBlock);
  T* probabilities = scratch.take<T>(kQueryTile * kKeyBlock);
  float* out = scratch.take<float>(kQueryTile * width);
  RunningSoftmax* state = scratch.take<RunningSoftmax>(kQueryTile);
  for (std::int64_t begin = queries.begin; begin < queries.end; begin += kQueryTile) {
    const std::int64_t end = begin + kQueryTile < queries.end ? begin + kQueryTile : queries.end, rows = end - begin;
    for (std::int64_t i = 0; i < rows * width; ++i) out[i] = 0;
    for (std::int64_t row = 0; row < rows; ++row) state[row] = {-__builtin_inff(), 0};
    for_each_block(queries, begin, end, [&](const PackedKeys<T>& keys, const KeyBlock& block) {
      times_columns(queries.q + begin * queries.q_stride, queries.q_stride, keys.k_columns, block, rows, size, scores);
      for (std::int64_t row = block.first_row; row < rows; ++row) {
        softmax_row(scores + row * kKeyBlock, block.limit(row), block.lanes<T>(), queries.scale, state[row],
                    out + row * width, width, probabilities + row * kKeyBlock);
      }
      add_times_rows(probabilities, keys.v_rows, block, rows, size, out);
    });
    for (std::int64_t row = 0; row < rows; ++row) {
      T* to = queries.out + (begin + row) * queries.out_stride;
      const float share = 1.0f / state[row].sum;
#pragma omp simd
      for (std::int64_t i = 0; i < size; ++i) store(to[i], out[row * width + i] * share);
      queries.lse[(begin + row) * queries.lse_stride] = state[row].largest + __builtin_logf(state[row].sum);
    }
  }
  release_tiles();
}

// Probabilities and gradients of the scores of one row: p = exp(scale s - lse), ds = scale p (dp - delta).
inline void score_gradient_row(float* scores, float* d_probabilities, std::int64_t limit, std::int64_t lanes,
                               float scale, float lse, float delta) {
#pragma omp simd
  for (std::int64_t i = 0; i < lanes; ++i) {
    const float p = i < limit ? exp_approx(scores[i] * scale - lse) : 0.0f;
    scores[i] = p;
    d_probabilities[i] = i < limit ? scale * p * (d_probabilities[i] - delta) : 0.0f;
  }
}

// Two rows (the second may be null) of float32 as words that pair them, and as rows of T (may be null).
inline void store_pair(const float* first, const float*, std::int64_t lanes, std::uint32_t* words, float*, float*) {
#pragma omp simd
  for (std::int64_t i = 0; i < lanes; ++i) words[i] = float_to_bits(first[i]);
}
inline void store_pair(const float* first, const float* second, std::int64_t lanes, std::uint32_t* words,
                       Bfloat16* first_row, Bfloat16* second_row) {
#pragma omp simd
  for (std::int64_t i = 0; i < lanes; ++i) {
    Bfloat16 low, high;
    store(low, first[i]);
    store(high, second == nullptr ? 0.0f : second[i]);
    words[i] = low.bits | static_cast<std::uint32_t>(high.bits) << 16;
    if (first_row != nullptr) first_row[i] = low;
    if (first_row != nullptr && second != nullptr) second_row[i] = high;
  }
}

// sum [keys, padded size] += transposed weights times rows of a tile, both packed in pairs of rows.
template <typename T>
void add_transposed(const std::uint32_t* weights, const std::uint32_t* packed, const KeyBlock& block, std::int64_t rows,
                    std::int64_t size, float* sum) {
  const std::int64_t width = padded_size(size), depth = (rows + kPack<T> - 1) / kPack<T>;
  const std::int64_t most = block.step == 0 ? block.keys : kCausalRows;
  for (std::int64_t key = 0; key < block.keys; key += most) {
    const std::int64_t count = key + most < block.keys ? most : block.keys - key;
    // The first row that sees `key`.
    const std::int64_t sees = block.step == 0 ? 0 : key + 1 - block.offset;
    const std::int64_t first = (sees > block.first_row ? sees : block.first_row) / kPack<T>;
#ifdef __AMX_BF16__
    if constexpr (kPack<T> == 2) {
      alignas(64) std::uint32_t transposed[kKeyBlock * kQueryTile / 2];
      const std::int64_t from = first / kDepthStep<T> * kDepthStep<T>, words = whole_depth<T>(depth) - from;
      transpose_weights(weights + key, kKeyBlock, count, first - from, depth - from, from, words, transposed);
      product<T>({transposed, words, 1, packed + from * width, width, sum + (block.block * kKeyBlock + key) * width,
                  width, count, width / kLanes, words, true});
      continue;
    }
#endif
    product<T>({weights + first * kKeyBlock + key, 1, kKeyBlock, packed + first * width, width,
                sum + (block.block * kKeyBlock + key) * width, width, count, width / kLanes, depth - first, true});
  }
}

template <typename T>
void attention_backward_rows(const AttentionQueries<T>& queries, void* memory) {
  constexpr std::int64_t kPairs = kQueryTile / kPack<T>;
  const std::int64_t size = queries.size, width = padded_size(size);
  Scratch scratch{static_cast<char*>(memory)};
  float* scores = scratch.take<float>(kQueryTile * kKeyBlock);
  float* d_scores = scratch.take<float>(kQueryTile * kKeyBlock);
  std::uint32_t* p_pairs = scratch.take<std::uint32_t>(kPairs * kKeyBlock);
  std::uint32_t* ds_pairs = scratch.take<std::uint32_t>(kPairs * kKeyBlock);
  T* ds_rows = kPack<T> == 1 ? reinterpret_cast<T*>(ds_pairs) : scratch.take<T>(kQueryTile * kKeyBlock);
  std::uint32_t* q_packed = scratch.take<std::uint32_t>(kPairs * width);
  std::uint32_t* d_out_packed = scratch.take<std::uint32_t>(kPairs * width);
  float* dq = scratch.take<float>(kQueryTile * width);
  float* delta = scratch.take<float>(kQueryTile);
  for (std::int64_t begin = queries.begin; begin < queries.end; begin += kQueryTile) {
    const std::int64_t end = begin + kQueryTile < queries.end ? begin + kQueryTile : queries.end, rows = end - begin;
    const T* q = queries.q + begin * queries.q_stride;
    const T* d_out = queries.d_out + begin * queries.out_stride;
    const float* lse = queries.lse + begin * queries.lse_stride;
    const std::int64_t depth = whole_depth<T>((rows + kPack<T> - 1) / kPack<T>);
    pack_rows(q, queries.q_stride, rows, size, depth, q_packed);
    pack_rows(d_out, queries.out_stride, rows, size, depth, d_out_packed);
    for (std::int64_t i = 0; i < rows * width; ++i) dq[i] = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* out = queries.out + (begin + row) * queries.out_stride;
      const T* d = d_out + row * queries.out_stride;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = 0; i < size; ++i) sum += load(out[i]) * load(d[i]);
      delta[row] = sum;
    }
    for_each_block(queries, begin, end, [&](const PackedKeys<T>& keys, const KeyBlock& block) {
      times_columns(q, queries.q_stride, keys.k_columns, block, rows, size, scores);
      times_columns(d_out, queries.out_stride, keys.v_columns, block, rows, size, d_scores);
      const std::int64_t lanes = block.lanes<T>();
      for (std::int64_t row = block.first_row; row < rows; ++row) {
        score_gradient_row(scores + row * kKeyBlock, d_scores + row * kKeyBlock, block.limit(row), lanes, queries.scale,
                           lse[row * queries.lse_stride], delta[row]);
      }
      for (std::int64_t row = block.first_row; row < rows; row += kPack<T>) {
        const std::int64_t at = row * kKeyBlock, pairs = row / kPack<T> * kKeyBlock;
        const bool both = row + 1 < rows;
        store_pair(scores + at, both ? scores + at + kKeyBlock : nullptr, lanes, p_pairs + pairs,
                   static_cast<T*>(nullptr), static_cast<T*>(nullptr));
        store_pair(d_scores + at, both ? d_scores + at + kKeyBlock : nullptr, lanes, ds_pairs + pairs, ds_rows + at,
                   ds_rows + at + kKeyBlock);
      }
      add_times_rows(ds_rows, keys.k_rows, block, rows, size, dq);
      add_transposed<T>(p_pairs, d_out_packed, block, rows, size, keys.dv);
      add_transposed<T>(ds_pairs, q_packed, block, rows, size, keys.dk);
    });
    for (std::int64_t row = 0; row < rows; ++row) {
      T* to = queries.dq + (begin + row) * queries.q_stride;
#pragma omp simd
      for (std::int64_t i = 0; i < size; ++i) store(to[i], dq[row * width + i]);
    }
  }
  release_tiles();
}

template <typename T>
AttentionKernels<T> attention_table() {
  return {attention_pack<T>, attention_forward_rows<T>, attention_backward_rows<T>};
}

}  // namespace
}  // namespace setrl::learn
