// A small model with every kind of parameter, which splits over 2 and 4 ranks.
#pragma once

#include "model/model_spec.h"

namespace setrl::sync {

inline model::ModelSpec small_spec() {
  model::ModelSpec spec;
  spec.vocabulary = 160;
  spec.hidden = 48;
  spec.inner = 96;
  spec.layers = 3;
  spec.heads = 8;
  spec.kv_heads = 4;
  spec.head_size = 8;
  spec.qkv_bias = true;
  spec.qk_norm = true;
  return spec;
}

}  // namespace setrl::sync
