#include "rollout/kernels_impl.h"

namespace setrl::rollout {

const Kernels& avx2_kernels(bool bf16) {
  static constexpr Kernels float32 = make_kernels<Float32Traits<8, 1, 6, false>>("AVX2 float32");
  static constexpr Kernels widened = make_kernels<Float32Traits<8, 1, 4, true>>("AVX2 bfloat16 storage");
  return bf16 ? widened : float32;
}

}  // namespace setrl::rollout
