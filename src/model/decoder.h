// The differentiable decoder: plain functions on tensors, one transformer block at a time. The attention itself is the
// caller's (packed with shared prompts when learning), so that one block definition serves all.
// Shapes: T packed tokens, E hidden, H heads, N kv heads, D head size, V vocabulary. Compute dtype is that of the
// weights.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <unordered_map>

#include "model/model_spec.h"

namespace setrl::model {

using NamedTensors = std::unordered_map<std::string, at::Tensor>;  // by Hugging Face name

// Weights of one block; undefined tensors where the family has none.
struct BlockWeights {
  at::Tensor input_norm;              // [E]
  at::Tensor q, k, v, o;              // [H*D, E], [N*D, E], [N*D, E], [E, H*D]
  at::Tensor q_bias, k_bias, v_bias;  // Qwen2
  at::Tensor q_norm, k_norm;          // [D], Qwen3
  at::Tensor post_norm;               // [E]
  at::Tensor gate, up, down;          // [I, E], [I, E], [E, I]
};
BlockWeights block_weights(const ModelSpec& spec, const NamedTensors& tensors, std::int64_t layer);

// Rotary tables for the positions of the packed tokens: cos and sin, [T, D] float32 ("rotate half" layout).
struct Rope {
  at::Tensor cos, sin;
};
Rope make_rope(const ModelSpec& spec, const at::Tensor& positions_T);

// q [T,H,D], k and v [T,N,D] after RoPE -> [T,H,D].
using Attention = std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v)>;

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);  // statistics in float32
at::Tensor apply_rope(const at::Tensor& x_THD, const Rope& rope);
at::Tensor block_forward(const ModelSpec& spec, const BlockWeights& weights, const at::Tensor& hidden_TE,
                         const Rope& rope, const Attention& attention);

// Causal attention of one unpacked sequence (reference, tests, evaluation of single sequences).
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// Whole forward of one sequence: ids [T] int64 -> logits [T, V] float32. For tests and tools, not for training.
at::Tensor forward_logits(const ModelSpec& spec, const NamedTensors& tensors, const at::Tensor& ids_T);

// All weights as tensors of `dtype`. For small models, tests and single-process inference.
NamedTensors load_all(const class WeightSource& source, at::ScalarType dtype);

// auto | float32 | bfloat16 | float16 -> dtype; auto is bfloat16 on GPUs and where the CPU has the instructions, else
// float32.
at::ScalarType choose_dtype(const std::string& name, at::Device device = at::kCPU);

}  // namespace setrl::model
