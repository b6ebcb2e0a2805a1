// Tiny models with weights large enough that every part of the arithmetic shows, and batches for them.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "model/decoder.h"
#include "model/weight_source.h"
#include "records/training_batch.h"

namespace setrl::learn::testing {

// "llama", "llama_tied", "qwen2" (biases) or "qwen3" (QK norm): 2 layers, hidden 32, 4 heads over 2 kv heads.
model::ModelSpec tiny_spec(const std::string& family);

// Norm weights near 1, everything else normal with deviation `scale`; a pure function of (seed, name, element).
class TinyWeights : public model::WeightSource {
 public:
  explicit TinyWeights(model::ModelSpec spec, double scale = 0.15) : spec_(std::move(spec)), scale_(scale) {}
  const model::ModelSpec& spec() const override { return spec_; }
  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override;
  std::string describe() const override { return "tiny weights"; }

 private:
  model::ModelSpec spec_;
  double scale_;
};

// `groups` groups of random tokens; completions of the given lengths, advantages and rollout log-probabilities random.
TrainingBatch tiny_batch(const model::ModelSpec& spec, int groups, const std::vector<int>& lengths, int prompt_tokens,
                         std::uint64_t seed);

RunConfig tiny_config();  // float32, temperature 0.7

// Log-probabilities of a completion's tokens after its prompt by model::forward_logits on the unpacked sequence.
at::Tensor plain_logprobs(const model::ModelSpec& spec, const model::NamedTensors& weights,
                          const std::vector<std::int32_t>& prompt, const std::vector<std::int32_t>& completion,
                          double temperature);

}  // namespace setrl::learn::testing
