// Which instruction set the kernels use.
#pragma once

#include <vector>

#include "rollout/kernels.h"

namespace setrl::rollout {

enum class Isa { portable, avx2, avx512, avx512_bf16, amx_bf16 };

// Those this CPU runs for the storage type, slowest first. avx512_bf16 and amx_bf16 exist for bfloat16 storage only.
std::vector<Isa> available_isas(bool bf16);
inline Isa best_isa(bool bf16) {
  return available_isas(bf16).back();
}
// Throws BugError where this CPU does not have it.
const Kernels& kernels_of(Isa isa, bool bf16);

}  // namespace setrl::rollout
