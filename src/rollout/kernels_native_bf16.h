// Traits of the instruction sets that multiply bfloat16 natively: vdpbf16ps adds a pair of products to each float32
// lane.
#pragma once

#include <immintrin.h>

#include "rollout/kernels_impl.h"

namespace setrl::rollout {
namespace {

struct NativeTraits {
  static constexpr int kLanes = 16, kPanels = 2, kMaxRows = 14;
  static constexpr bool kBf16 = true, kNativeDot = true;
  using Act = std::uint16_t;
  using F = Lanes<16>::F;
  static SETRL_INLINE F multiply_add(F acc, F x, F w) {
    return (F)_mm512_dpbf16_ps((__m512)acc, (__m512bh)x, (__m512bh)w);
  }
  static SETRL_INLINE void store_act(std::uint16_t* to, F v) {
    const __m256bh half = _mm512_cvtneps_pbh((__m512)v);
    __builtin_memcpy(to, &half, sizeof half);
  }
  static SETRL_INLINE void store_act_scalar(std::uint16_t* to, float v) { *to = to_bf16_bits(v); }
};

}  // namespace
}  // namespace setrl::rollout
