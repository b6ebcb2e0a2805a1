#include "rollout/gpu_weights.h"

#include "base/error.h"

namespace setrl::rollout::gpu {

GpuWeights::GpuWeights(const model::ModelSpec& spec, bool bf16, const TensorShard& shard, at::Device device)
    : WeightIntake(spec, shard), storage_(bf16 ? at::kBFloat16 : at::kFloat) {
  const std::int64_t size = spec.head_size, q = local_.heads * size, kv = local_.kv_heads * size;
  const auto vector = [&](std::int64_t n) {
    return at::empty({n}, at::TensorOptions().device(device).dtype(at::kFloat));
  };
  const auto matrix = [&](std::int64_t rows, std::int64_t columns) {
    return at::empty({rows, columns}, at::TensorOptions().device(device).dtype(storage_));
  };
  for (std::int64_t i = 0; i < spec.layers; ++i) {
    GpuLayerWeights layer;
    layer.input_norm = vector(spec.hidden);
    layer.post_norm = vector(spec.hidden);
    if (spec.qkv_bias) layer.qkv_bias = vector(q + 2 * kv);
    if (spec.qk_norm) {
      layer.q_norm = vector(size);
      layer.k_norm = vector(size);
    }
    layer.qkv = matrix(q + 2 * kv, spec.hidden);
    layer.out = matrix(spec.hidden, q);
    layer.gate_up = matrix(2 * local_.inner, spec.hidden);
    layer.down = matrix(spec.hidden, local_.inner);
    layers_.push_back(std::move(layer));
  }
  embedding_ = matrix(local_.vocabulary, spec.hidden);
  if (!spec.tied_embeddings) head_ = matrix(local_.vocabulary, spec.hidden);
  final_norm_ = vector(spec.hidden);
}

void GpuWeights::set_vector(const at::Tensor& to, const at::Tensor& values) const {
  at::Tensor(to).copy_(values.detach().to(storage_));
}

void GpuWeights::take(const std::string& name, const at::Tensor& part) {
  if (name == "model.embed_tokens.weight") {
    embedding_.copy_(part.detach());
  } else if (name == "lm_head.weight") {
    head_.copy_(part.detach());
  } else {
    SETRL_CHECK(name == "model.norm.weight", "the engine has no place for parameter {}", name);
    set_vector(final_norm_, part);
  }
}

void GpuWeights::take_of_layer(std::size_t index, const std::string& name, const at::Tensor& part) {
  const GpuLayerWeights& layer = layers_.at(index);
  const std::int64_t size = spec_.head_size, q = local_.heads * size, kv = local_.kv_heads * size;
  const auto rows = [&](const at::Tensor& matrix, std::int64_t first) {
    matrix.narrow(0, first, part.size(0)).copy_(part.detach());
  };
  const auto bias = [&](std::int64_t first) { set_vector(layer.qkv_bias.narrow(0, first, part.size(0)), part); };
  if (name == "input_layernorm.weight") {
    set_vector(layer.input_norm, part);
  } else if (name == "post_attention_layernorm.weight") {
    set_vector(layer.post_norm, part);
  } else if (name == "self_attn.q_proj.weight") {
    rows(layer.qkv, 0);
  } else if (name == "self_attn.k_proj.weight") {
    rows(layer.qkv, q);
  } else if (name == "self_attn.v_proj.weight") {
    rows(layer.qkv, q + kv);
  } else if (name == "self_attn.o_proj.weight") {
    rows(layer.out, 0);
  } else if (name == "self_attn.q_proj.bias") {
    bias(0);
  } else if (name == "self_attn.k_proj.bias") {
    bias(q);
  } else if (name == "self_attn.v_proj.bias") {
    bias(q + kv);
  } else if (name == "self_attn.q_norm.weight") {
    set_vector(layer.q_norm, part);
  } else if (name == "self_attn.k_norm.weight") {
    set_vector(layer.k_norm, part);
  } else if (name == "mlp.gate_proj.weight") {
    rows(layer.gate_up, 0);
  } else if (name == "mlp.up_proj.weight") {
    rows(layer.gate_up, local_.inner);
  } else {
    SETRL_CHECK(name == "mlp.down_proj.weight", "the engine has no place for parameter {}", name);
    rows(layer.down, 0);
  }
}

}  // namespace setrl::rollout::gpu
