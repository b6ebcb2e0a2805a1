// A batch as the kernels read it: flat arrays in one block of bytes, which one copy brings to the device. Counts are
// padded to a few sizes, so that passes often have the same shape: then they are the same launches, which a CUDA graph
// replays, and the same matrix products. Rows, items and draws that only fill up do nothing, or write to page 0.
#pragma once

#include <cstdint>
#include <tuple>
#include <vector>

#include "rollout/batch.h"
#include "rollout/gpu_kernels.h"
#include "rollout/gpu_kv_cache.h"

namespace setrl::rollout::gpu {

// Everything that the launches of a pass depend on.
struct PassShape {
  std::int64_t rows = 0, items = 0, logit_rows = 0, draws = 0;  // padded
  bool every_row = false;  // logit_rows are all rows; else they are gathered before the last layer's end
  bool wide = false;       // as AttendArgs has it
  bool split = false;      // there are partial results of attention
  bool operator<(const PassShape& other) const { return key() < other.key(); }
  bool operator==(const PassShape& other) const { return key() == other.key(); }

 private:
  std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool, bool, bool> key() const {
    return {rows, items, logit_rows, draws, every_row, wide, split};
  }
};

// What the sampling kernel needs of an order.
DrawOrder order_of(const rollout::DrawOrder& wanted);

// Powers of two up to 256, then multiples of 256; 0 stays 0.
std::int64_t padded_count(std::int64_t count);

// Where the arrays begin, in bytes; the last one, pages, has any length.
struct PassLayout {
  explicit PassLayout(const PassShape& shape);
  std::int64_t draws, items, tokens, positions, page_begin, partial_begin, logit_rows, pages;
};

class PassPlan {
 public:
  // `group`: query heads of a kv head.
  explicit PassPlan(std::int64_t group) : group_(group) {}

  // The draws' options are copied.
  void make(const Batch& batch, const GpuKvCache& cache);

  const PassShape& shape() const { return shape_; }
  std::int64_t partials() const { return partials_; }  // partial results of attention of one head
  std::int64_t longest() const { return longest_; }    // positions
  const std::vector<unsigned char>& bytes() const { return bytes_; }

 private:
  void plan_rows(const Batch& batch, const GpuKvCache& cache);
  void plan_attention(const Batch& batch);
  void write(const Batch& batch);

  std::int64_t group_;
  PassShape shape_;
  std::int64_t partials_ = 0, longest_ = 0;
  std::vector<std::int32_t> page_begin_, partial_begin_, pages_;
  std::vector<AttentionItem> items_;
  std::vector<unsigned char> bytes_;
};

}  // namespace setrl::rollout::gpu
