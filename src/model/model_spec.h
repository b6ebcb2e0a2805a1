// The shape of a decoder and the list of its parameters, before any weight is read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace setrl::model {

enum class Family { llama, qwen2, qwen3 };

// Llama-3 frequency scaling (rope_type "llama3" of Hugging Face's config.json).
struct RopeScaling {
  double factor = 8, low_frequency_factor = 1, high_frequency_factor = 4;
  std::int64_t original_positions = 8192;
};

struct ModelSpec {
  Family family = Family::llama;
  std::int64_t vocabulary = 0, hidden = 0, inner = 0, layers = 0, heads = 0, kv_heads = 0, head_size = 0;
  std::int64_t max_positions = 0;
  double rope_theta = 10000, norm_epsilon = 1e-5;
  bool tied_embeddings = false;
  bool qkv_bias = false;  // Qwen2
  bool qk_norm = false;   // Qwen3
  std::optional<RopeScaling> rope_scaling;
  std::int32_t bos_id = -1, eos_id = -1;

  std::int64_t parameter_count() const;
};

// One parameter under its Hugging Face name. Units are what FSDP gathers together: 0 = embedding, 1..layers = blocks,
// layers+1 = final norm and, where not tied, the head.
struct ParameterSpec {
  std::string name;                 // "model.layers.3.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;  // linear weights are [out, in]
  int unit = 0;
  std::int64_t elements() const;
};

// Elements [begin, end) of a flattened parameter, named by its place in parameter_table(), that a rank holds.
struct HeldSlice {
  int parameter = 0;
  std::int64_t begin = 0, end = 0;
};

// All parameters in the order of the forward pass; the order is part of the checkpoint format.
std::vector<ParameterSpec> parameter_table(const ModelSpec& spec);
inline int unit_count(const ModelSpec& spec) {
  return static_cast<int>(spec.layers) + 2;
}

// config.json of Hugging Face <-> spec. Parsing throws UserError naming the file and the key.
ModelSpec parse_hf_config(const std::string& json_text, const std::string& file_name);
std::string to_hf_config(const ModelSpec& spec, const std::string& torch_dtype);

}  // namespace setrl::model
