#include "learn/kernels_impl.h"

namespace setrl::learn {

Kernels kernels_avx512_bf16();
Kernels kernels_avx512_bf16() {
  return all_kernels("AVX512-bf16");
}

}  // namespace setrl::learn
