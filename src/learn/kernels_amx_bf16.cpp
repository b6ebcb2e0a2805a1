#include "learn/kernels_impl.h"

namespace setrl::learn {

Kernels kernels_amx_bf16();
Kernels kernels_amx_bf16() {
  return all_kernels("AMX-bf16");
}

}  // namespace setrl::learn
