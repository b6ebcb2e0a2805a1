#include "rollout/kernels_native_bf16.h"

namespace setrl::rollout {

const Kernels& avx512_bf16_kernels() {
  static constexpr Kernels kernels = make_kernels<NativeTraits>("AVX-512 bfloat16");
  return kernels;
}

}  // namespace setrl::rollout
