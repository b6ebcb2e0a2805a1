#include "rollout/from_config.h"

#include "base/error.h"
#include "base/system.h"

namespace setrl::rollout {

EngineOptions engine_options(const RunConfig& config, at::Device device) {
  EngineOptions options;
  options.device = device;
  options.max_batch = config.rollout.max_batch;
  options.kv_cache_bytes = config.rollout.kv_cache_bytes;
  if (options.kv_cache_bytes == 0 && device.is_cpu()) options.kv_cache_bytes = available_memory_bytes() / 2;
  options.kv_on_update = config.rollout.kv_on_update == "keep" ? KvOnUpdate::keep : KvOnUpdate::recompute;
  options.pin = config.rollout.pin;
  return options;
}

SamplingOptions sampling_options(const RunConfig& config, const TextSide& text) {
  const RolloutSection& rollout = config.rollout;
  SamplingOptions options;
  options.temperature = rollout.temperature;
  options.top_k = rollout.top_k;
  options.top_p = rollout.top_p;
  options.min_p = rollout.min_p;
  options.max_new_tokens = rollout.max_new_tokens;
  options.seed = config.run.seed;
  options.stop_ids = text.stop_ids;

  StopRules rules;
  rules.bytes_of = text.bytes_of;
  if (!rollout.stop_text.empty()) rules.stop_texts = {rollout.stop_text};
  if (rollout.stop_after_answers) {
    rules.last_text = text.last_tag;
    rules.last_count = 1;
  }
  if (rollout.think_budget > 0) {
    rules.think_budget = rollout.think_budget;
    rules.think_open = text.think_open;
    rules.think_close = text.think_close;
    rules.think_close_ids = text.encode(text.think_close);
  }
  if (rules.any()) options.rules = std::make_shared<StopRules>(std::move(rules));
  return options;
}

}  // namespace setrl::rollout
