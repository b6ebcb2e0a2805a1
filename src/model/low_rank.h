// Low-rank adapters (LoRA, Hu et al. 2021) as PEFT has them: a frozen weight W [out, in] of a module acts as
// W + (alpha / rank) B A with A [rank, in] and B [out, rank].
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "model/model_spec.h"
#include "model/weight_source.h"

namespace setrl::model {

struct LowRankSpec {
  std::int64_t rank = 0;  // 0: no adapters
  double alpha = 0;
  std::vector<std::string> targets;  // module names: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj
  double scale() const { return alpha / static_cast<double>(rank); }
};

// From learn.lora_*. Throws UserError naming the module that does not exist.
LowRankSpec low_rank_spec(const LearnSection& config);

// "model.layers.3.self_attn.q_proj.lora_A.weight" and "...lora_B.weight" of every adapted weight, in table order.
std::vector<ParameterSpec> adapter_table(const ModelSpec& spec, const LowRankSpec& low_rank);

// Where adapters start: A uniform in +-1 / sqrt(in), a pure function of (seed, name, element) as PEFT's
// kaiming_uniform(sqrt(5)); B zero, so that the first forward is the base's.
void initial_adapter(const ParameterSpec& adapter, std::uint64_t seed, std::int64_t begin, std::int64_t end,
                     float* out);

// The base with its adapters merged in. `read_adapter` fills elements [begin, end) of a named adapter.
using ReadAdapter = std::function<void(const std::string& name, std::int64_t begin, std::int64_t end, float* out)>;
std::unique_ptr<WeightSource> merged_weights(std::unique_ptr<WeightSource> base, LowRankSpec low_rank,
                                             ReadAdapter read_adapter);

}  // namespace setrl::model
