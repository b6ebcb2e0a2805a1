// Small random models for the engine's tests.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "rollout/engine.h"

namespace setrl::rollout::test {

// hidden and inner are no multiples of a panel on purpose; prompts cross page borders.
inline model::ModelSpec small_spec(model::Family family) {
  model::ModelSpec spec;
  spec.family = family;
  spec.vocabulary = 211;
  spec.hidden = 72;
  spec.inner = 104;
  spec.layers = 3;
  spec.heads = 6;
  spec.kv_heads = 2;
  spec.head_size = 12;
  spec.max_positions = 512;
  spec.tied_embeddings = family == model::Family::llama;
  spec.qkv_bias = family == model::Family::qwen2;
  spec.qk_norm = family == model::Family::qwen3;
  return spec;
}

// Weights large enough that the next-token distribution is far from uniform; norms and biases not trivial.
inline model::NamedTensors random_tensors(const model::ModelSpec& spec, at::ScalarType dtype = at::kFloat) {
  at::manual_seed(7);
  model::NamedTensors tensors;
  for (const auto& parameter : model::parameter_table(spec)) {
    const double scale = parameter.shape.size() == 1 ? 0.2 : 1.5 / std::sqrt(static_cast<double>(spec.hidden));
    at::Tensor values = at::randn(parameter.shape) * scale;
    if (parameter.name.find("norm") != std::string::npos) values = values + 1.0;
    tensors[parameter.name] = values.to(dtype);
  }
  return tensors;
}

inline void load(Engine& engine, const model::NamedTensors& tensors, std::int64_t version = 1) {
  engine.begin_update();
  for (const auto& [name, tensor] : tensors) engine.update(name, tensor);
  engine.end_update(version);
}

inline std::vector<std::int32_t> prompt_of(int length, std::int64_t vocabulary, int salt = 0) {
  std::vector<std::int32_t> prompt;
  for (int i = 0; i < length; ++i) prompt.push_back(static_cast<std::int32_t>((i * 37 + salt * 101 + 11) % vocabulary));
  return prompt;
}

// All completions by (problem, sample).
using Results = std::map<std::pair<std::string, int>, Completion>;
inline Results generate(Engine& engine, const std::vector<GenerationRequest>& requests,
                        const SamplingOptions& sampling) {
  Results results;
  engine.generate(requests, sampling, [&](const GenerationRequest&, std::vector<Completion> completions) {
    for (auto& completion : completions) {
      results[{completion.problem_id, completion.sample_index}] = std::move(completion);
    }
  });
  return results;
}

}  // namespace setrl::rollout::test
