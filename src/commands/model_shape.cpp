#include "commands/model_shape.h"

namespace setrl::commands {

namespace {

// What the two have in common, by the same names.
template <typename From, typename To>
void copy_sizes(const From& from, To& to) {
  to.vocabulary = from.vocabulary;
  to.hidden = from.hidden;
  to.inner = from.inner;
  to.layers = from.layers;
  to.heads = from.heads;
  to.kv_heads = from.kv_heads;
  to.head_size = from.head_size;
  to.tied_embeddings = from.tied_embeddings;
  to.qkv_bias = from.qkv_bias;
  to.qk_norm = from.qk_norm;
}

}  // namespace

topology::ModelShape shape_of(const model::ModelSpec& spec, const std::string& name) {
  topology::ModelShape shape;
  shape.name = name;
  copy_sizes(spec, shape);
  return shape;
}

model::ModelSpec spec_of(const topology::ModelShape& shape) {
  model::ModelSpec spec;
  spec.family = shape.qk_norm ? model::Family::qwen3 : shape.qkv_bias ? model::Family::qwen2 : model::Family::llama;
  const bool llama = spec.family == model::Family::llama;
  copy_sizes(shape, spec);
  spec.max_positions = 131072;
  spec.rope_theta = llama ? 500000 : 1000000;
  spec.norm_epsilon = llama ? 1e-5 : 1e-6;
  return spec;
}

}  // namespace setrl::commands
