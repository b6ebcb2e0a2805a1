// One transformer block, forward and backward written out: the same function as model::block_forward (tests compare the
// two), with q, k, v and gate, up as one product each and gradients added straight to the unit's flat buffer.
// Shapes: T packed rows, E hidden, H heads, N kv heads, D head size, I inner size.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "learn/attention.h"
#include "learn/packing.h"
#include "learn/unit_layout.h"
#include "model/decoder.h"

namespace setrl::learn {

// Views of a block's flat weights (compute dtype) or gradients (float32); undefined where the family has none.
struct BlockTensors {
  at::Tensor input_norm, post_norm;  // [E]
  at::Tensor qkv, qkv_bias;          // [(H + 2 N) D, E], [(H + 2 N) D]
  at::Tensor q_norm, k_norm;         // [D]
  at::Tensor o;                      // [E, H D]
  at::Tensor gate_up, down;          // [2 I, E], [E, I]
};
BlockTensors block_tensors(const UnitLayout& layout, const at::Tensor& flat);

// What the backward needs. Everything but the input is dropped under activation checkpointing.
struct BlockActivations {
  at::Tensor input;                    // [T, E]
  at::Tensor input_rstd, post_rstd;    // [T]
  at::Tensor raw_qkv, q_rstd, k_rstd;  // before the QK norm (Qwen3)
  at::Tensor qkv;                      // after RoPE
  AttentionResult attention;
  at::Tensor middle;   // [T, E] after the attention's residual
  at::Tensor gate_up;  // [T, 2 I]
};

struct BlockContext {
  const model::ModelSpec& spec;
  const std::vector<PackedGroup>& groups;
  const model::Rope& rope;
};

// x [T, E] -> [T, E]; fills `saved` where given.
at::Tensor block_forward(const BlockContext& context, const BlockTensors& weights, const at::Tensor& x,
                         BlockActivations* saved);

// d(loss)/d(output) -> d(loss)/d(input); adds the weights' gradients. Consumes `saved`.
at::Tensor block_backward(const BlockContext& context, const BlockTensors& weights, BlockActivations saved,
                          const at::Tensor& d_out, const BlockTensors& gradients);

}  // namespace setrl::learn
