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

}  // namespace

BlockTensors block_tensors(const UnitLayout& layout, const at::Tensor& flat) {
  BlockTensors tensors;
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

at::Tensor block_forward(const BlockContext& context, const BlockTensors& weights, const at::Tensor& x,
                         BlockActivations* saved) {
  const auto& spec = context.spec;
  Normed normed = rms_norm(x, weights.input_norm, spec.norm_epsilon);
  at::Tensor qkv = weights.qkv_bias.defined() ? at::addmm(weights.qkv_bias, normed.out, weights.qkv.t())
                                              : project(normed.out, weights.qkv);
  if (saved != nullptr) {
    saved->input = x;
    saved->input_rstd = normed.rstd;
  }
  if (weights.q_norm.defined()) {
    if (saved != nullptr) saved->raw_qkv = qkv.clone();
    const auto q_rstd = head_norm_(qkv, 0, spec.heads, weights.q_norm, spec.norm_epsilon);
    const auto k_rstd = head_norm_(qkv, spec.heads * spec.head_size, spec.kv_heads, weights.k_norm, spec.norm_epsilon);
    if (saved != nullptr) {
      saved->q_rstd = q_rstd;
      saved->k_rstd = k_rstd;
    }
  }
  rope_(qkv, context.rope, spec.heads + spec.kv_heads, spec.head_size, 1);
  AttentionResult attention = attention_forward(attention_shape(spec), context.groups, qkv);
  const at::Tensor middle = at::addmm(x, attention.out.flatten(1), weights.o.t());
  normed = rms_norm(middle, weights.post_norm, spec.norm_epsilon);
  const at::Tensor gate_up = project(normed.out, weights.gate_up);
  if (saved != nullptr) {
    saved->qkv = qkv;
    saved->attention = attention;
    saved->middle = middle;
    saved->post_rstd = normed.rstd;
    saved->gate_up = gate_up;
  }
  return at::addmm(middle, swiglu(gate_up), weights.down.t());
}

at::Tensor block_backward(const BlockContext& context, const BlockTensors& weights, BlockActivations saved,
                          const at::Tensor& d_out, const BlockTensors& gradients) {
  const auto& spec = context.spec;
  // Feed-forward part.
  at::Tensor d_middle;
  {
    at::Tensor d_gate_up = saved.gate_up;
    const at::Tensor inner = swiglu_backward_(d_gate_up, at::mm(d_out, weights.down));
    add_matmul(d_out.t(), inner, gradients.down);
    const Normed normed = rms_norm(saved.middle, weights.post_norm, spec.norm_epsilon);
    add_matmul(d_gate_up.t(), normed.out, gradients.gate_up);
    d_middle = rms_norm_backward(saved.middle, weights.post_norm, saved.post_rstd, at::mm(d_gate_up, weights.gate_up),
                                 d_out, gradients.post_norm);
    saved.gate_up.reset();
  }
  // Attention part.
  add_matmul(d_middle.t(), saved.attention.out.flatten(1), gradients.o);
  const at::Tensor d_attention = at::mm(d_middle, weights.o).view_as(saved.attention.out);
  const at::Tensor d_qkv =
      attention_backward(attention_shape(spec), context.groups, saved.qkv, saved.attention, d_attention);
  rope_(d_qkv, context.rope, spec.heads + spec.kv_heads, spec.head_size, -1);
  if (weights.q_norm.defined()) {
    head_norm_backward_(saved.raw_qkv, 0, spec.heads, weights.q_norm, saved.q_rstd, d_qkv, gradients.q_norm);
    head_norm_backward_(saved.raw_qkv, spec.heads * spec.head_size, spec.kv_heads, weights.k_norm, saved.k_rstd, d_qkv,
                        gradients.k_norm);
  }
  if (weights.qkv_bias.defined()) column_sum(d_qkv, gradients.qkv_bias);
  const Normed normed = rms_norm(saved.input, weights.input_norm, spec.norm_epsilon);
  add_matmul(d_qkv.t(), normed.out, gradients.qkv);
  return rms_norm_backward(saved.input, weights.input_norm, saved.input_rstd, at::mm(d_qkv, weights.qkv), d_middle,
                           gradients.input_norm);
}

}  // namespace setrl::learn
