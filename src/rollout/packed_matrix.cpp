#include "rollout/packed_matrix.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/error.h"

namespace setrl::rollout {

PackedMatrix::PackedMatrix(std::int64_t rows, std::int64_t depth, bool bf16)
    : layout_{bf16, depth}, rows_(rows), tiles_(round_up(rows, kTileColumns) / kTileColumns) {
  block_ = MemoryBlock(tiles_ * 2 * layout_.panel_bytes());
}

void PackedMatrix::set_rows(const at::Tensor& tensor, const std::function<std::int64_t(std::int64_t)>& destination) {
  SETRL_CHECK(tensor.dim() == 2 && tensor.size(1) == depth(), "a weight of {} columns for a matrix of depth {}",
              tensor.dim() == 2 ? tensor.size(1) : -1, depth());
  const at::Tensor source = tensor.detach().to(layout_.bf16 ? at::kBFloat16 : at::kFloat).contiguous();
  const std::int64_t depth = this->depth();
  const auto scatter = [&](const auto* from, auto* base) {
    at::parallel_for(0, source.size(0), std::max<std::int64_t>(64, 65536 / depth),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t i = begin; i < end; ++i) {
                         const std::int64_t n = destination(i);
                         SETRL_CHECK(n >= 0 && n < rows_, "row {} of {}", n, rows_);
                         auto* to = base + layout_.index(n, 0);
                         const auto* row = from + i * depth;
                         if (layout_.bf16) {
                           for (std::int64_t k = 0; k < depth; ++k) to[k / 2 * 2 * kPanelColumns + k % 2] = row[k];
                         } else {
                           for (std::int64_t k = 0; k < depth; ++k) to[k * kPanelColumns] = row[k];
                         }
                       }
                     });
  };
  if (layout_.bf16) {
    scatter(static_cast<const std::uint16_t*>(source.const_data_ptr()),
            reinterpret_cast<std::uint16_t*>(block_.data()));
  } else {
    scatter(source.const_data_ptr<float>(), block_.floats());
  }
}

void PackedMatrix::get_row(std::int64_t n, float* out) const {
  if (layout_.bf16) {
    const auto* from = reinterpret_cast<const std::uint16_t*>(block_.data()) + layout_.index(n, 0);
    for (std::int64_t k = 0; k < depth(); ++k) out[k] = from_bf16_bits(from[k / 2 * 2 * kPanelColumns + k % 2]);
  } else {
    const float* from = block_.floats() + layout_.index(n, 0);
    for (std::int64_t k = 0; k < depth(); ++k) out[k] = from[k * kPanelColumns];
  }
}

}  // namespace setrl::rollout
