#include "rollout/weights.h"

#include "base/error.h"

namespace setrl::rollout {

Weights::Weights(const model::ModelSpec& spec, bool bf16, const TensorShard& shard)
    : WeightIntake(spec, shard), bf16_(bf16) {
  const auto hidden = static_cast<std::size_t>(spec.hidden), head_size = static_cast<std::size_t>(spec.head_size);
  const std::int64_t q = local_.heads * spec.head_size, kv = local_.kv_heads * spec.head_size;
  for (std::int64_t i = 0; i < spec.layers; ++i) {
    LayerWeights layer;
    layer.input_norm.resize(hidden);
    layer.post_norm.resize(hidden);
    layer.qkv_bias.resize(static_cast<std::size_t>(q + 2 * kv));
    if (spec.qk_norm) {
      layer.q_norm.resize(head_size);
      layer.k_norm.resize(head_size);
    }
    layer.qkv = PackedMatrix(q + 2 * kv, spec.hidden, bf16);
    layer.out = PackedMatrix(spec.hidden, q, bf16);
    layer.gate_up = PackedMatrix(2 * round_up(local_.inner, kPanelColumns), spec.hidden, bf16);
    layer.down = PackedMatrix(spec.hidden, local_.inner, bf16);
    layers_.push_back(std::move(layer));
  }
  embedding_ = PackedMatrix(local_.vocabulary, spec.hidden, bf16);
  if (!spec.tied_embeddings) head_ = PackedMatrix(local_.vocabulary, spec.hidden, bf16);
  final_norm_.resize(hidden);
}

void Weights::set_vector(std::vector<float>& to, const at::Tensor& tensor, std::int64_t offset) {
  // Rounded to the storage type like the matrices, so that rollout and learner hold the same numbers.
  const at::Tensor values = tensor.detach().to(bf16_ ? at::kBFloat16 : at::kFloat).to(at::kFloat).contiguous();
  std::copy_n(values.const_data_ptr<float>(), values.numel(), to.begin() + offset);
}

void Weights::take(const std::string& name, const at::Tensor& part) {
  const auto identity = [](std::int64_t row) { return row; };
  if (name == "model.embed_tokens.weight") {
    embedding_.set_rows(part, identity);
  } else if (name == "lm_head.weight") {
    head_.set_rows(part, identity);
  } else {
    SETRL_CHECK(name == "model.norm.weight", "the engine has no place for parameter {}", name);
    set_vector(final_norm_, part, 0);
  }
}

void Weights::take_of_layer(std::size_t index, const std::string& part, const at::Tensor& tensor) {
  LayerWeights& layer = layers_.at(index);
  const std::int64_t q = local_.heads * spec_.head_size, kv = local_.kv_heads * spec_.head_size;
  const auto at_offset = [](std::int64_t offset) { return [offset](std::int64_t row) { return row + offset; }; };
  const auto interleaved = [](std::int64_t offset) {
    return [offset](std::int64_t row) { return row / kPanelColumns * kTileColumns + offset + row % kPanelColumns; };
  };
  if (part == "input_layernorm.weight") {
    set_vector(layer.input_norm, tensor, 0);
  } else if (part == "post_attention_layernorm.weight") {
    set_vector(layer.post_norm, tensor, 0);
  } else if (part == "self_attn.q_proj.weight") {
    layer.qkv.set_rows(tensor, at_offset(0));
  } else if (part == "self_attn.k_proj.weight") {
    layer.qkv.set_rows(tensor, at_offset(q));
  } else if (part == "self_attn.v_proj.weight") {
    layer.qkv.set_rows(tensor, at_offset(q + kv));
  } else if (part == "self_attn.o_proj.weight") {
    layer.out.set_rows(tensor, at_offset(0));
  } else if (part == "self_attn.q_proj.bias") {
    set_vector(layer.qkv_bias, tensor, 0);
  } else if (part == "self_attn.k_proj.bias") {
    set_vector(layer.qkv_bias, tensor, q);
  } else if (part == "self_attn.v_proj.bias") {
    set_vector(layer.qkv_bias, tensor, q + kv);
  } else if (part == "self_attn.q_norm.weight") {
    set_vector(layer.q_norm, tensor, 0);
  } else if (part == "self_attn.k_norm.weight") {
    set_vector(layer.k_norm, tensor, 0);
  } else if (part == "mlp.gate_proj.weight") {
    layer.gate_up.set_rows(tensor, interleaved(0));
  } else if (part == "mlp.up_proj.weight") {
    layer.gate_up.set_rows(tensor, interleaved(kPanelColumns));
  } else if (part == "mlp.down_proj.weight") {
    layer.down.set_rows(tensor, at_offset(0));
  } else {
    SETRL_CHECK(false, "the engine has no place for parameter {}", part);
  }
}

}  // namespace setrl::rollout
