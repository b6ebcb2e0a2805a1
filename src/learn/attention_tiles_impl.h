// Included by attention_kernels_impl.h where it is compiled for AMX: its products of bfloat16 pairs in tiles. One
// instruction multiplies 16 x 16 words of a by 16 x 16 words of b, whose packed form has the tiles' layout already.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace setrl::learn {
namespace {

constexpr std::int64_t kTileRows = 16, kTileWords = 16;

// The operand of ldtilecfg.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Tiles 0 to 3 sum 16 rows, tile 4 holds their a, tile 5 b; tiles 6 (a) and 7 (sums) are for the last rows of a product
// where these are fewer. What this thread's tiles 6 and 7 are configured for; -1: nothing is configured.
thread_local std::int64_t last_rows = -1;

// The intrinsics do not tell the compiler which memory they read.
inline void finish_stores() {
  __asm__ volatile("" ::: "memory");
}

inline void configure_tiles(std::int64_t rows) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) {
    shapes.rows[tile] = static_cast<std::uint8_t>(tile < 6 ? kTileRows : rows);
    shapes.row_bytes[tile] = tile < 6 || rows > 0 ? 4 * kTileWords : 0;
  }
  finish_stores();
  _tile_loadconfig(&shapes);
  last_rows = rows;
}

// Oneself's configuration must not be left to others' products on the same thread, which have their own.
inline void release_tiles() {
  if (last_rows >= 0) _tile_release();
  last_rows = -1;
}

// Sixteen rows from `row` on, and `kVectors` vectors of 16 columns. P: struct Product.
template <int kVectors, typename P>
void tile_strip(const P& p, std::int64_t row, std::int64_t vector) {
  float* c = p.c + row * p.c_step + vector * kTileWords;
  const std::int64_t c_bytes = 4 * p.c_step, a_bytes = 4 * p.row_step, b_bytes = 4 * p.b_step;
  if (p.add) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (kVectors > 1) _tile_loadd(1, c + kTileWords, c_bytes);
    if constexpr (kVectors > 2) _tile_loadd(2, c + 2 * kTileWords, c_bytes);
    if constexpr (kVectors > 3) _tile_loadd(3, c + 3 * kTileWords, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (kVectors > 1) _tile_zero(1);
    if constexpr (kVectors > 2) _tile_zero(2);
    if constexpr (kVectors > 3) _tile_zero(3);
  }
  const char* a = static_cast<const char*>(p.a) + row * a_bytes;
  const char* b = static_cast<const char*>(p.b) + 4 * vector * kTileWords;
  for (std::int64_t k = 0; k < p.depth; k += kTileWords, a += 4 * kTileWords, b += kTileWords * b_bytes) {
    _tile_loadd(4, a, a_bytes);
    _tile_loadd(5, b, b_bytes);
    _tile_dpbf16ps(0, 4, 5);
    if constexpr (kVectors > 1) {
      _tile_loadd(5, b + 4 * kTileWords, b_bytes);
      _tile_dpbf16ps(1, 4, 5);
    }
    if constexpr (kVectors > 2) {
      _tile_loadd(5, b + 8 * kTileWords, b_bytes);
      _tile_dpbf16ps(2, 4, 5);
    }
    if constexpr (kVectors > 3) {
      _tile_loadd(5, b + 12 * kTileWords, b_bytes);
      _tile_dpbf16ps(3, 4, 5);
    }
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (kVectors > 1) _tile_stored(1, c + kTileWords, c_bytes);
  if constexpr (kVectors > 2) _tile_stored(2, c + 2 * kTileWords, c_bytes);
  if constexpr (kVectors > 3) _tile_stored(3, c + 3 * kTileWords, c_bytes);
}

// The last rows, fewer than 16, of one vector.
template <typename P>
void tile_last_rows(const P& p, std::int64_t row, std::int64_t vector) {
  float* c = p.c + row * p.c_step + vector * kTileWords;
  const std::int64_t c_bytes = 4 * p.c_step, a_bytes = 4 * p.row_step, b_bytes = 4 * p.b_step;
  if (p.add) {
    _tile_loadd(7, c, c_bytes);
  } else {
    _tile_zero(7);
  }
  const char* a = static_cast<const char*>(p.a) + row * a_bytes;
  const char* b = static_cast<const char*>(p.b) + 4 * vector * kTileWords;
  for (std::int64_t k = 0; k < p.depth; k += kTileWords, a += 4 * kTileWords, b += kTileWords * b_bytes) {
    _tile_loadd(6, a, a_bytes);
    _tile_loadd(5, b, b_bytes);
    _tile_dpbf16ps(7, 6, 5);
  }
  _tile_stored(7, c, c_bytes);
}

// struct Product of bfloat16 pairs with a depth of whole tiles and rows of a that are not transposed.
template <typename P>
void tile_product(const P& p) {
  const std::int64_t rest = p.rows % kTileRows;
  if (last_rows < 0 || (rest > 0 && rest != last_rows)) configure_tiles(rest);
  finish_stores();
  for (std::int64_t row = 0; row + kTileRows <= p.rows; row += kTileRows) {
    std::int64_t vector = 0;
    for (; vector + 4 <= p.vectors; vector += 4) tile_strip<4>(p, row, vector);
    switch (p.vectors - vector) {
      case 3: tile_strip<3>(p, row, vector); break;
      case 2: tile_strip<2>(p, row, vector); break;
      case 1: tile_strip<1>(p, row, vector); break;
      default: break;
    }
  }
  if (rest == 0) return;
  for (std::int64_t vector = 0; vector < p.vectors; ++vector) tile_last_rows(p, p.rows - rest, vector);
}

using TileRow __attribute__((vector_size(64), aligned(4), may_alias)) = std::uint32_t;

// Words, pairs of words, or quarters of two vectors in turn; each quarter of a vector by itself, but for the quarters.
constexpr TileRow kLowWords = {0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29};
constexpr TileRow kHighWords = {2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31};
constexpr TileRow kLowPairs = {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29};
constexpr TileRow kHighPairs = {2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31};
constexpr TileRow kEvenQuarters = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27};
constexpr TileRow kOddQuarters = {4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};

// out [16][out_step] = in [16][in_step] transposed, in words; rows of `in` outside of [begin, end) count as zero.
inline void transpose_16(const std::uint32_t* in, std::int64_t in_step, std::int64_t begin, std::int64_t end,
                         std::uint32_t* out, std::int64_t out_step) {
  TileRow x[16], y[16];
#pragma GCC unroll 16
  for (std::int64_t i = 0; i < 16; ++i) {
    x[i] = i >= begin && i < end ? *reinterpret_cast<const TileRow*>(in + i * in_step) : TileRow{};
  }
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    y[i] = __builtin_shuffle(x[i], x[i + 1], kLowWords);
    y[i + 1] = __builtin_shuffle(x[i], x[i + 1], kHighWords);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    x[i] = __builtin_shuffle(y[i], y[i + 2], kLowPairs);
    x[i + 1] = __builtin_shuffle(y[i], y[i + 2], kHighPairs);
    x[i + 2] = __builtin_shuffle(y[i + 1], y[i + 3], kLowPairs);
    x[i + 3] = __builtin_shuffle(y[i + 1], y[i + 3], kHighPairs);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const TileRow even = __builtin_shuffle(x[i], x[i + 4], kEvenQuarters);
    const TileRow odd = __builtin_shuffle(x[i], x[i + 4], kOddQuarters);
    const TileRow even2 = __builtin_shuffle(x[i + 8], x[i + 12], kEvenQuarters);
    const TileRow odd2 = __builtin_shuffle(x[i + 8], x[i + 12], kOddQuarters);
    y[i] = __builtin_shuffle(even, even2, kEvenQuarters);
    y[i + 4] = __builtin_shuffle(odd, odd2, kEvenQuarters);
    y[i + 8] = __builtin_shuffle(even, even2, kOddQuarters);
    y[i + 12] = __builtin_shuffle(odd, odd2, kOddQuarters);
  }
#pragma GCC unroll 16
  for (std::int64_t i = 0; i < 16; ++i) *reinterpret_cast<TileRow*>(out + i * out_step) = y[i];
}

// out [count up to whole 16s][words] = rows [from, from + words) of weights [.][step], transposed; rows of weights
// before from + begin and from from + end on are taken as zero.
inline void transpose_weights(const std::uint32_t* weights, std::int64_t step, std::int64_t count, std::int64_t begin,
                              std::int64_t end, std::int64_t from, std::int64_t words, std::uint32_t* out) {
  for (std::int64_t k = 0; k < words; k += kTileWords) {
    for (std::int64_t i = 0; i < count; i += kTileRows) {
      transpose_16(weights + (from + k) * step + i, step, begin - k, end - k, out + i * words + k, words);
    }
  }
}

}  // namespace
}  // namespace setrl::learn
