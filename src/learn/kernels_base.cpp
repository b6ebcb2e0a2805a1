#include "learn/kernels_impl.h"

namespace setrl::learn {

Kernels kernels_base();
Kernels kernels_base() {
  return all_kernels("base");
}

}  // namespace setrl::learn
