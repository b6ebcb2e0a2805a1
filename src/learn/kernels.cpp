#include "learn/kernels.h"

#include "base/system.h"

namespace setrl::learn {

Kernels kernels_base();
Kernels kernels_avx2();
Kernels kernels_avx512();
Kernels kernels_avx512_bf16();
Kernels kernels_amx_bf16();

const Kernels& kernels() {
  static const Kernels chosen = may_use_amx_bfloat16() ? kernels_amx_bf16()
                                : cpu_has_bfloat16()   ? kernels_avx512_bf16()
                                : cpu_has_avx512()     ? kernels_avx512()
                                : cpu_has_avx2()       ? kernels_avx2()
                                                       : kernels_base();
  return chosen;
}

}  // namespace setrl::learn
