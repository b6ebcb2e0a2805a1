#include "rollout/isa.h"

#include <algorithm>

#include "base/error.h"
#include "base/system.h"

namespace setrl::rollout {

std::vector<Isa> available_isas(bool bf16) {
  std::vector<Isa> isas = {Isa::portable};
  if (cpu_has_avx2()) isas.push_back(Isa::avx2);
  if (cpu_has_avx2() && cpu_has_avx512()) {
    isas.push_back(Isa::avx512);
    if (bf16 && __builtin_cpu_supports("avx512bf16")) {
      isas.push_back(Isa::avx512_bf16);
      if (may_use_amx_bfloat16()) isas.push_back(Isa::amx_bf16);
    }
  }
  return isas;
}

const Kernels& kernels_of(Isa isa, bool bf16) {
  const auto isas = available_isas(bf16);
  SETRL_CHECK(std::find(isas.begin(), isas.end(), isa) != isas.end(), "this CPU lacks instruction set {}",
              static_cast<int>(isa));
  switch (isa) {
    case Isa::portable: return portable_kernels(bf16);
    case Isa::avx2: return avx2_kernels(bf16);
    case Isa::avx512: return avx512_kernels(bf16);
    case Isa::avx512_bf16: return avx512_bf16_kernels();
    case Isa::amx_bf16: return amx_bf16_kernels();
  }
  return portable_kernels(bf16);
}

}  // namespace setrl::rollout
