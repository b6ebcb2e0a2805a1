#include "rollout/weights.h"

#include <fmt/ranges.h>

#include "base/error.h"
#include "model/tensor_parallel.h"

namespace setrl::rollout {

namespace {

void check_shape(const std::string& name, const at::Tensor& tensor, const std::vector<std::int64_t>& shape) {
  SETRL_CHECK(tensor.sizes() == at::IntArrayRef(shape), "{} has shape {}, not {}", name,
              fmt::join(tensor.sizes().vec(), "x"), fmt::join(shape, "x"));
}

}  // namespace

Weights::Weights(const model::ModelSpec& spec, bool bf16, const TensorShard& shard)
    : spec_(spec), local_(shard.local(spec)), shard_(shard), bf16_(bf16) {
  SETRL_CHECK(spec.head_size % 2 == 0 && spec.heads % spec.kv_heads == 0, "head size {} and {} heads over {} groups",
              spec.head_size, spec.heads, spec.kv_heads);
  const auto hidden = static_cast<std::size_t>(spec.hidden), head_size = static_cast<std::size_t>(spec.head_size);
  const std::int64_t q = local_.heads * spec.head_size, kv = local_.kv_heads * spec.head_size;
  for (const auto& parameter : model::parameter_table(spec)) parameters_[parameter.name] = parameter;
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

void Weights::begin_update() {
  ready_ = false;
  missing_.clear();
  for (const auto& [name, parameter] : parameters_) missing_.insert(name);
}

void Weights::end_update() {
  SETRL_CHECK(missing_.empty(), "{} parameters never came, {} among them", missing_.size(), *missing_.begin());
  ready_ = true;
}

void Weights::set_vector(std::vector<float>& to, const at::Tensor& tensor, std::int64_t offset) {
  // Rounded to the storage type like the matrices, so that rollout and learner hold the same numbers.
  const at::Tensor values = tensor.detach().to(bf16_ ? at::kBFloat16 : at::kFloat).to(at::kFloat).contiguous();
  std::copy_n(values.const_data_ptr<float>(), values.numel(), to.begin() + offset);
}

const model::ParameterSpec& Weights::parameter(const std::string& name) const {
  const auto found = parameters_.find(name);
  SETRL_CHECK(found != parameters_.end(), "the model has no parameter {}", name);
  return found->second;
}

void Weights::update(const std::string& name, const at::Tensor& whole) {
  check_shape(name, whole, parameter(name).shape);
  const model::Cut cut = model::cut_of(name);
  if (cut == model::Cut::whole) {
    take(name, whole);
    return;
  }
  const std::int64_t dimension = cut == model::Cut::rows ? 0 : 1;
  const std::int64_t count = whole.size(dimension);
  take(name, whole.narrow(dimension, shard_.begin(count), count / shard_.ranks));
}

void Weights::update_part(const std::string& name, const at::Tensor& part) {
  check_shape(name, part, model::part_shape(parameter(name), shard_.ranks));
  take(name, part);
}

void Weights::take(const std::string& name, const at::Tensor& part) {
  const auto identity = [](std::int64_t row) { return row; };
  const std::string prefix = "model.layers.";
  if (name == "model.embed_tokens.weight") {
    embedding_.set_rows(part, identity);
  } else if (name == "lm_head.weight") {
    head_.set_rows(part, identity);
  } else if (name == "model.norm.weight") {
    set_vector(final_norm_, part, 0);
  } else {
    SETRL_CHECK(name.rfind(prefix, 0) == 0, "the engine has no place for parameter {}", name);
    const auto dot = name.find('.', prefix.size());
    const auto index = std::stoul(name.substr(prefix.size(), dot - prefix.size()));
    update_layer(layers_.at(index), name.substr(dot + 1), part);
  }
  missing_.erase(name);
}

void Weights::update_layer(LayerWeights& layer, const std::string& part, const at::Tensor& tensor) {
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
