#include "learn/block.h"

#include "learn/tensor_ops.h"

namespace setrl::learn {

namespace {

AttentionShape attention_shape(const model::ModelSpec& spec) {
  return {spec.heads, spec.kv_heads, spec.head_size};
}

at::Tensor project(const at::Tensor& x, const at::Tensor& weight) {
  return at::mm(x, weight.t());
}

// The columns of q, k, v or gate, up in a product of them together.
at::Tensor columns(const at::Tensor& x, std::int64_t begin, std::int64_t count) {
  return x.narrow(1, begin, count);
}

struct QkvColumns {
  explicit QkvColumns(const model::ModelSpec& spec)
      : q(spec.heads * spec.head_size), kv(spec.kv_heads * spec.head_size) {}
  at::Tensor of_q(const at::Tensor& x) const { return columns(x, 0, q); }
  at::Tensor of_k(const at::Tensor& x) const { return columns(x, q, kv); }
  at::Tensor of_v(const at::Tensor& x) const { return columns(x, q + kv, kv); }
  std::int64_t q, kv;
};

// input -> attention and its residual.
void attention_part(const BlockContext& context, const BlockTensors& weights, bool training, BlockActivations& saved) {
  const auto& spec = context.spec;
  const auto& adapters = weights.adapters;
  const Normed normed = rms_norm(saved.input, weights.input_norm, spec.norm_epsilon);
  saved.input_rstd = normed.rstd;
  saved.qkv = weights.qkv_bias.defined() ? at::addmm(weights.qkv_bias, normed.out, weights.qkv.t())
                                         : project(normed.out, weights.qkv);
  const QkvColumns part(spec);
  add_low_rank(adapters.q, context.adapter_scale, normed.out, part.of_q(saved.qkv));
  add_low_rank(adapters.k, context.adapter_scale, normed.out, part.of_k(saved.qkv));
  add_low_rank(adapters.v, context.adapter_scale, normed.out, part.of_v(saved.qkv));
  if (weights.q_norm.defined()) {
    if (training) saved.raw_qkv = saved.qkv.clone();
    saved.q_rstd = head_norm_(saved.qkv, 0, spec.heads, weights.q_norm, spec.norm_epsilon);
    saved.k_rstd = head_norm_(saved.qkv, part.q, spec.kv_heads, weights.k_norm, spec.norm_epsilon);
  }
  rope_(saved.qkv, context.rope, spec.heads + spec.kv_heads, spec.head_size, 1);
  saved.attention = attention_forward(attention_shape(spec), context.groups, saved.qkv);
  const at::Tensor heads = saved.attention.out.flatten(1);
  saved.middle = at::addmm(saved.input, heads, weights.o.t());
  add_low_rank(adapters.o, context.adapter_scale, heads, saved.middle);
}

// middle -> gate_up.
void gate_part(const BlockContext& context, const BlockTensors& weights, BlockActivations& saved) {
  const auto& spec = context.spec;
  const Normed normed = rms_norm(saved.middle, weights.post_norm, spec.norm_epsilon);
  saved.post_rstd = normed.rstd;
  saved.gate_up = project(normed.out, weights.gate_up);
  add_low_rank(weights.adapters.gate, context.adapter_scale, normed.out, columns(saved.gate_up, 0, spec.inner));
  add_low_rank(weights.adapters.up, context.adapter_scale, normed.out, columns(saved.gate_up, spec.inner, spec.inner));
}

}  // namespace

BlockTensors block_tensors(const UnitLayout& layout, const at::Tensor& flat) {
  BlockTensors tensors;
  if (!flat.defined()) return tensors;
  tensors.input_norm = layout.view(flat, ".input_layernorm.weight");
  tensors.post_norm = layout.view(flat, ".post_attention_layernorm.weight");
  tensors.qkv = layout.stacked(flat, {".q_proj.weight", ".k_proj.weight", ".v_proj.weight"});
  tensors.qkv_bias = layout.stacked(flat, {".q_proj.bias", ".k_proj.bias", ".v_proj.bias"});
  tensors.q_norm = layout.view(flat, ".q_norm.weight");
  tensors.k_norm = layout.view(flat, ".k_norm.weight");
  tensors.o = layout.view(flat, ".o_proj.weight");
  tensors.gate_up = layout.stacked(flat, {".gate_proj.weight", ".up_proj.weight"});
  tensors.down = layout.view(flat, ".down_proj.weight");
  return tensors;
}

BlockTensors::Adapters block_adapters(const UnitLayout& layout, const at::Tensor& flat) {
  BlockTensors::Adapters adapters;
  if (!flat.defined()) return adapters;
  const auto adapter = [&](const std::string& module) {
    return Adapter{layout.view(flat, "." + module + ".lora_A.weight"),
                   layout.view(flat, "." + module + ".lora_B.weight")};
  };
  adapters.q = adapter("q_proj");
  adapters.k = adapter("k_proj");
  adapters.v = adapter("v_proj");
  adapters.o = adapter("o_proj");
  adapters.gate = adapter("gate_proj");
  adapters.up = adapter("up_proj");
  adapters.down = adapter("down_proj");
  return adapters;
}

at::Tensor block_forward(const BlockContext& context, const BlockTensors& weights, const at::Tensor& x, Keep keep,
                         BlockActivations* saved) {
  BlockActivations all;
  all.input = x;
  attention_part(context, weights, saved != nullptr, all);
  gate_part(context, weights, all);
  const at::Tensor inner = swiglu(all.gate_up);
  at::Tensor out = at::addmm(all.middle, inner, weights.down.t());
  add_low_rank(weights.adapters.down, context.adapter_scale, inner, out);
  if (saved == nullptr) return out;
  if (keep == Keep::input) {
    *saved = {};
    saved->input = x;
    return out;
  }
  if (keep == Keep::selective) all.gate_up.reset();
  *saved = std::move(all);
  return out;
}

at::Tensor block_backward(const BlockContext& context, const BlockTensors& weights, BlockActivations saved,
                          const at::Tensor& d_out, const BlockTensors& gradients) {
  const auto& spec = context.spec;
  const double scale = context.adapter_scale;
  const auto& adapters = weights.adapters;
  if (!saved.qkv.defined()) attention_part(context, weights, true, saved);
  if (!saved.gate_up.defined()) gate_part(context, weights, saved);
  // Feed-forward part.
  at::Tensor d_middle;
  {
    at::Tensor d_gate_up = saved.gate_up;
    at::Tensor d_inner = at::mm(d_out, weights.down);
    at::Tensor d_low = add_low_rank_input_gradient(adapters.down, scale, d_out, d_inner);
    const at::Tensor inner = swiglu_backward_(d_gate_up, d_inner);
    add_matmul(d_out.t(), inner, gradients.down);
    add_low_rank_weight_gradient(adapters.down, scale, inner, d_out, d_low, gradients.adapters.down);
    const Normed normed = rms_norm(saved.middle, weights.post_norm, spec.norm_epsilon);
    add_matmul(d_gate_up.t(), normed.out, gradients.gate_up);
    at::Tensor d_normed = at::mm(d_gate_up, weights.gate_up);
    const auto through = [&](const Adapter& adapter, const at::Tensor& d_y, const Adapter& gradient) {
      d_low = add_low_rank_input_gradient(adapter, scale, d_y, d_normed);
      add_low_rank_weight_gradient(adapter, scale, normed.out, d_y, d_low, gradient);
    };
    through(adapters.gate, columns(d_gate_up, 0, spec.inner), gradients.adapters.gate);
    through(adapters.up, columns(d_gate_up, spec.inner, spec.inner), gradients.adapters.up);
    d_middle =
        rms_norm_backward(saved.middle, weights.post_norm, saved.post_rstd, d_normed, d_out, gradients.post_norm);
    saved.gate_up.reset();
  }
  // Attention part.
  const at::Tensor heads = saved.attention.out.flatten(1);
  add_matmul(d_middle.t(), heads, gradients.o);
  at::Tensor d_heads = at::mm(d_middle, weights.o);
  const at::Tensor d_low = add_low_rank_input_gradient(adapters.o, scale, d_middle, d_heads);
  add_low_rank_weight_gradient(adapters.o, scale, heads, d_middle, d_low, gradients.adapters.o);
  const at::Tensor d_qkv = attention_backward(attention_shape(spec), context.groups, saved.qkv, saved.attention,
                                              d_heads.view_as(saved.attention.out));
  rope_(d_qkv, context.rope, spec.heads + spec.kv_heads, spec.head_size, -1);
  const QkvColumns part(spec);
  if (weights.q_norm.defined()) {
    head_norm_backward_(saved.raw_qkv, 0, spec.heads, weights.q_norm, saved.q_rstd, d_qkv, gradients.q_norm);
    head_norm_backward_(saved.raw_qkv, part.q, spec.kv_heads, weights.k_norm, saved.k_rstd, d_qkv, gradients.k_norm);
  }
  if (gradients.qkv_bias.defined()) column_sum(d_qkv, gradients.qkv_bias);
  const Normed normed = rms_norm(saved.input, weights.input_norm, spec.norm_epsilon);
  add_matmul(d_qkv.t(), normed.out, gradients.qkv);
  at::Tensor d_normed = at::mm(d_qkv, weights.qkv);
  const auto through = [&](const Adapter& adapter, const at::Tensor& d_y, const Adapter& gradient) {
    const at::Tensor d_inside = add_low_rank_input_gradient(adapter, scale, d_y, d_normed);
    add_low_rank_weight_gradient(adapter, scale, normed.out, d_y, d_inside, gradient);
  };
  through(adapters.q, part.of_q(d_qkv), gradients.adapters.q);
  through(adapters.k, part.of_k(d_qkv), gradients.adapters.k);
  through(adapters.v, part.of_v(d_qkv), gradients.adapters.v);
  return rms_norm_backward(saved.input, weights.input_norm, saved.input_rstd, d_normed, d_middle, gradients.input_norm);
}

}  // namespace setrl::learn
