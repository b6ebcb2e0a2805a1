// A weight matrix [N, K] in the kernels' panel layout. N is padded to whole tiles with zero rows.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>

#include "rollout/layout.h"
#include "rollout/memory_block.h"

namespace setrl::rollout {

class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(std::int64_t rows, std::int64_t depth, bool bf16);

  std::int64_t depth() const { return layout_.depth; }
  std::int64_t tiles() const { return tiles_; }  // of 32 rows
  std::int64_t panel_bytes() const { return layout_.panel_bytes(); }
  const char* tile(std::int64_t index) const { return block_.data() + index * 2 * panel_bytes(); }
  std::int64_t bytes() const { return block_.bytes(); }

  // Row i of `tensor` [rows, K] (any float type) becomes row destination(i).
  void set_rows(const at::Tensor& tensor, const std::function<std::int64_t(std::int64_t)>& destination);
  // Row n as float32 [K].
  void get_row(std::int64_t n, float* out) const;

 private:
  PanelLayout layout_;
  std::int64_t rows_ = 0, tiles_ = 0;
  MemoryBlock block_;
};

}  // namespace setrl::rollout
