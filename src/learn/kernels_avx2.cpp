#include "learn/kernels_impl.h"

namespace setrl::learn {

Kernels kernels_avx2();
Kernels kernels_avx2() {
  return all_kernels("AVX2");
}

}  // namespace setrl::learn
