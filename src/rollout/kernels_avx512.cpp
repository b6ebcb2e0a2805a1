#include "rollout/kernels_impl.h"

namespace setrl::rollout {

const Kernels& avx512_kernels(bool bf16) {
  static constexpr Kernels float32 = make_kernels<Float32Traits<16, 2, 14, false>>("AVX-512 float32");
  static constexpr Kernels widened = make_kernels<Float32Traits<16, 2, 12, true>>("AVX-512 bfloat16 storage");
  return bf16 ? widened : float32;
}

}  // namespace setrl::rollout
