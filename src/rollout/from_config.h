// The engine's and the sampler's options from the configuration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/run_config.h"
#include "rollout/engine.h"

namespace setrl::rollout {

// What the engine needs to know of tokens as text; made by whoever has the tokenizer and the grammar.
struct TextSide {
  std::function<std::string_view(std::int32_t)> bytes_of;  // of a token as written; nothing for special tokens
  std::function<std::vector<std::int32_t>(std::string_view)> encode;
  std::vector<std::int32_t> stop_ids;   // end-of-turn tokens
  std::string last_tag;                 // closes the last thing that an answer set must have
  std::string think_open, think_close;  // tags of the think block
};

// On CPUs rollout.kv_cache_bytes = 0 becomes half of the memory that is free now.
EngineOptions engine_options(const RunConfig& config, at::Device device = at::kCPU);
// `seed` and `temperature` are those of the run unless changed afterwards.
SamplingOptions sampling_options(const RunConfig& config, const TextSide& text);

}  // namespace setrl::rollout
