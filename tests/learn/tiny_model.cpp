#include "learn/tiny_model.h"

#include <cmath>

#include "base/random.h"

namespace setrl::learn::testing {

model::ModelSpec tiny_spec(const std::string& family) {
  model::ModelSpec spec;
  spec.vocabulary = 67;
  spec.hidden = 32;
  spec.inner = 48;
  spec.layers = 2;
  spec.heads = 4;
  spec.kv_heads = 2;
  spec.head_size = 8;
  spec.max_positions = 256;
  if (family == "llama_tied") spec.tied_embeddings = true;
  if (family == "qwen2") {
    spec.family = model::Family::qwen2;
    spec.qkv_bias = true;
  }
  if (family == "qwen3") {
    spec.family = model::Family::qwen3;
    spec.qk_norm = true;
    spec.head_size = 16;
  }
  return spec;
}

void TinyWeights::read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const {
  const bool norm = name.find("norm") != std::string::npos;
  const std::uint64_t stream = stable_hash(name);
  for (std::int64_t i = begin; i < end; ++i) {
    // Uniform of deviation 1.
    const double value = std::sqrt(12.0) * (uniform_at(7, stream, static_cast<std::uint32_t>(i), 0) - 0.5);
    out[i - begin] = static_cast<float>(norm ? 1 + 0.1 * value : scale_ * value);
  }
}

TrainingBatch tiny_batch(const model::ModelSpec& spec, int groups, const std::vector<int>& lengths, int prompt_tokens,
                         std::uint64_t seed) {
  RandomStream random(seed, 1);
  const auto tokens = [&](int count) {
    std::vector<std::int32_t> result;
    for (int i = 0; i < count; ++i) {
      result.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(spec.vocabulary))));
    }
    return result;
  };
  TrainingBatch batch;
  for (int g = 0; g < groups; ++g) {
    TrainingGroup group;
    group.index = g;
    group.prompt = tokens(prompt_tokens + g);
    for (const int length : lengths) {
      TrainingSequence sequence;
      sequence.tokens = tokens(length);
      for (int i = 0; i < length; ++i) sequence.rollout_logprobs.push_back(static_cast<float>(-4 + random.normal()));
      sequence.advantage = random.normal();
      group.sequences.push_back(std::move(sequence));
    }
    batch.groups.push_back(std::move(group));
  }
  return batch;
}

RunConfig tiny_config() {
  RunConfig config;
  config.model.dtype = "float32";
  config.learn.warmup_fraction = config.sft.warmup_fraction = 0;
  config.learn.schedule = config.sft.schedule = "constant";
  config.learn.learning_rate = 1e-3;
  config.sft.learning_rate = 3e-3;
  return config;
}

at::Tensor plain_logprobs(const model::ModelSpec& spec, const model::NamedTensors& weights,
                          const std::vector<std::int32_t>& prompt, const std::vector<std::int32_t>& completion,
                          double temperature) {
  std::vector<std::int64_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.end(), completion.begin(), completion.end() - 1);
  const auto count = static_cast<std::int64_t>(completion.size());
  const at::Tensor logits = model::forward_logits(spec, weights, at::tensor(ids, at::kLong));
  const at::Tensor targets = at::tensor(std::vector<std::int64_t>(completion.begin(), completion.end()), at::kLong);
  const at::Tensor all = at::log_softmax(logits.narrow(0, logits.size(0) - count, count) / temperature, -1);
  return all.gather(1, targets.unsqueeze(1)).squeeze(1);
}

}  // namespace setrl::learn::testing
