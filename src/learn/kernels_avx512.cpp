#include "learn/kernels_impl.h"

namespace setrl::learn {

Kernels kernels_avx512();
Kernels kernels_avx512() {
  return all_kernels("AVX-512");
}

}  // namespace setrl::learn
