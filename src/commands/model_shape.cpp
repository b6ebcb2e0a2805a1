#include "commands/model_shape.h"

namespace setrl::commands {

topology::ModelShape shape_of(const model::ModelSpec& spec, const std::string& name) {
  topology::ModelShape shape;
  shape.name = name;
  shape.vocabulary = spec.vocabulary;
  shape.hidden = spec.hidden;
  shape.inner = spec.inner;
  shape.layers = spec.layers;
  shape.heads = spec.heads;
  shape.kv_heads = spec.kv_heads;
  shape.head_size = spec.head_size;
  shape.tied_embeddings = spec.tied_embeddings;
  shape.qkv_bias = spec.qkv_bias;
  shape.qk_norm = spec.qk_norm;
  return shape;
}

model::ModelSpec spec_of(const topology::ModelShape& shape) {
  model::ModelSpec spec;
  spec.family = shape.qk_norm ? model::Family::qwen3 : shape.qkv_bias ? model::Family::qwen2 : model::Family::llama;
  const bool llama = spec.family == model::Family::llama;
  spec.vocabulary = shape.vocabulary;
  spec.hidden = shape.hidden;
  spec.inner = shape.inner;
  spec.layers = shape.layers;
  spec.heads = shape.heads;
  spec.kv_heads = shape.kv_heads;
  spec.head_size = shape.head_size;
  spec.max_positions = 131072;
  spec.rope_theta = llama ? 500000 : 1000000;
  spec.norm_epsilon = llama ? 1e-5 : 1e-6;
  spec.tied_embeddings = shape.tied_embeddings;
  spec.qkv_bias = shape.qkv_bias;
  spec.qk_norm = shape.qk_norm;
  return spec;
}

}  // namespace setrl::commands
