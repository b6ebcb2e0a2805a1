// Products in AMX tiles: one instruction multiplies 16 x 32 by 32 x 16 bfloat16 numbers. All else is as with AVX-512.
// A call makes up to 32 x 32 numbers: tiles 0 to 3 sum them (0, 1: rows 0 to 15; 2, 3: the others), tiles 4 and 5 hold
// rows of a, tiles 6 and 7 the two panels of b, which have the tiles' layout already. A row is summed over 32 depths
// after the other, however many rows there are beside it.
#include "rollout/kernels_native_bf16.h"

namespace setrl::rollout {
namespace {

constexpr int kTileRows = 16, kLineBytes = 64;
constexpr std::int64_t kTileDepth = 32, kTileBytes = kTileRows * kLineBytes;

// The operand of ldtilecfg.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// What this thread's tiles are configured for; 0: nothing.
thread_local int configured_rows = 0;

// The intrinsics do not tell the compiler which memory they read.
SETRL_INLINE void finish_stores() {
  __asm__ volatile("" ::: "memory");
}

void configure(int rows) {
  TileShapes shapes;
  const int upper = rows < kTileRows ? rows : kTileRows, lower = rows - upper;
  const int tile_rows[8] = {upper, upper, lower, lower, upper, lower, kTileRows, kTileRows};
  for (int tile = 0; tile < 8; ++tile) {
    shapes.rows[tile] = static_cast<std::uint8_t>(tile_rows[tile]);
    shapes.row_bytes[tile] = tile_rows[tile] > 0 ? kLineBytes : 0;
  }
  finish_stores();
  _tile_loadconfig(&shapes);
  configured_rows = rows;
}

// A macro because a tile's number must be a constant. What is not wanted again soon leaves the other matrix in the
// first cache.
#define SETRL_LOAD_TILE(stream, tile, from, stride) \
  if constexpr (stream) {                           \
    _tile_stream_loadd(tile, from, stride);         \
  } else {                                          \
    _tile_loadd(tile, from, stride);                \
  }

template <bool Lower, bool ReuseB>
SETRL_INLINE void multiply(const char* a, std::int64_t a_stride, const char* b, std::int64_t panel_bytes) {
  SETRL_LOAD_TILE(!ReuseB, 6, b, kLineBytes);
  SETRL_LOAD_TILE(ReuseB, 4, a, a_stride);
  _tile_dpbf16ps(0, 4, 6);
  SETRL_LOAD_TILE(!ReuseB, 7, b + panel_bytes, kLineBytes);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (Lower) {
    SETRL_LOAD_TILE(ReuseB, 5, a + kTileRows * a_stride, a_stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// The last depths where they are no whole 32: from copies that zeros fill up.
template <bool Lower>
void multiply_rest(int rows, const TileCall& call, const char* a, const char* b, std::int64_t depths) {
  alignas(64) char a_copy[2 * kTileBytes] = {}, b_copy[2 * kTileBytes] = {};
  for (int row = 0; row < rows; ++row) {
    __builtin_memcpy(a_copy + row * kLineBytes, a + row * call.a_stride, static_cast<std::size_t>(depths) * 2);
  }
  const auto b_bytes = static_cast<std::size_t>((depths + 1) / 2 * kLineBytes);
  __builtin_memcpy(b_copy, b, b_bytes);
  __builtin_memcpy(b_copy + kTileBytes, b + call.panel_bytes, b_bytes);
  finish_stores();
  multiply<Lower, false>(a_copy, kLineBytes, b_copy, kTileBytes);
}

template <bool Lower, bool ReuseB>
void tile_rows(int rows, const TileCall& call) {
  const std::int64_t c_stride = call.c_stride * 4;
  float* const lower = call.c + kTileRows * call.c_stride;
  if (call.add) {
    _tile_loadd(0, call.c, c_stride);
    _tile_loadd(1, call.c + kPanelColumns, c_stride);
    if constexpr (Lower) {
      _tile_loadd(2, lower, c_stride);
      _tile_loadd(3, lower + kPanelColumns, c_stride);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (Lower) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  const char* a = static_cast<const char*>(call.a);
  const char* b = static_cast<const char*>(call.b);
  const char* ahead = call.prefetch;
  const std::int64_t ahead_bytes = call.prefetch_step * kTileDepth / 2;
  for (std::int64_t k = 0; k + kTileDepth <= call.depth; k += kTileDepth) {
    for (std::int64_t offset = 0; offset < ahead_bytes; offset += kLineBytes) __builtin_prefetch(ahead + offset, 0, 2);
    ahead += ahead_bytes;
    multiply<Lower, ReuseB>(a, call.a_stride, b, call.panel_bytes);
    a += kTileDepth * 2;
    b += kTileBytes;
  }
  const std::int64_t rest = call.depth % kTileDepth;
  if (rest > 0) multiply_rest<Lower>(rows, call, a, b, rest);
  _tile_stored(0, call.c, c_stride);
  _tile_stored(1, call.c + kPanelColumns, c_stride);
  if constexpr (Lower) {
    _tile_stored(2, lower, c_stride);
    _tile_stored(3, lower + kPanelColumns, c_stride);
  }
}

void tile(int rows, const TileCall& call) {
  if (rows != configured_rows) configure(rows);
  if (rows > kTileRows) {
    call.reuse_b ? tile_rows<true, true>(rows, call) : tile_rows<true, false>(rows, call);
  } else {
    call.reuse_b ? tile_rows<false, true>(rows, call) : tile_rows<false, false>(rows, call);
  }
}

void release_tiles() {
  if (configured_rows != 0) _tile_release();
  configured_rows = 0;
}

}  // namespace

const Kernels& amx_bf16_kernels() {
  static constexpr Kernels kernels = make_kernels<NativeTraits>("AMX bfloat16", 2 * kTileRows, tile, release_tiles);
  return kernels;
}

}  // namespace setrl::rollout
