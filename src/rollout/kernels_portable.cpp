// Four lanes: every 64-bit x86 has them.
#include "rollout/kernels_impl.h"

namespace setrl::rollout {

const Kernels& portable_kernels(bool bf16) {
  static constexpr Kernels float32 = make_kernels<Float32Traits<4, 1, 2, false>>("portable float32");
  static constexpr Kernels widened = make_kernels<Float32Traits<4, 1, 2, true>>("portable bfloat16 storage");
  return bf16 ? widened : float32;
}

}  // namespace setrl::rollout
