// One transformer block, forward and backward written out: the same function as model::block_forward (tests compare the
// two), with q, k, v and gate, up as one product each and gradients added straight to the unit's flat buffer.
// Shapes: T packed rows, E hidden, H heads, N kv heads, D head size, I inner size.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "learn/attention.h"
#include "learn/low_rank.h"
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
  // Low-rank additions; undefined where a module has none.
  struct Adapters {
    Adapter q, k, v, o, gate, up, down;
  } adapters;
};
// All undefined where `flat` is (gradients of frozen weights).
BlockTensors block_tensors(const UnitLayout& layout, const at::Tensor& flat);
// Of a unit of the adapters' own layout.
BlockTensors::Adapters block_adapters(const UnitLayout& layout, const at::Tensor& flat);

// What a block's forward leaves for its backward (activation checkpointing): everything; all but the widest and
// cheapest, gate_up, which is one product; or the input alone. What is missing is computed again, bit by bit the same.
enum class Keep { everything, selective, input };

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
  double adapter_scale = 0;
};

// x [T, E] -> [T, E]; fills `saved` where given.
at::Tensor block_forward(const BlockContext& context, const BlockTensors& weights, const at::Tensor& x, Keep keep,
                         BlockActivations* saved);

// d(loss)/d(output) -> d(loss)/d(input); adds the gradients of those weights that have a place in `gradients`. Consumes
// `saved`.
at::Tensor block_backward(const BlockContext& context, const BlockTensors& weights, BlockActivations saved,
                          const at::Tensor& d_out, const BlockTensors& gradients);

}  // namespace setrl::learn
