// Keys and values in pages of 32 token positions, all layers and heads of a position in one page, in the kernels' panel
// layout, so that both products of attention are tile calls: keys are the "columns" of the score product (K = head
// size), head dimensions those of the value product (K = 32 positions).
#pragma once

#include <cstdint>
#include <vector>

#include "model/model_spec.h"
#include "rollout/layout.h"
#include "rollout/memory_block.h"

namespace setrl::rollout {

class KvCache {
 public:
  using Page = char*;

  // Memory: 2 * layers * kv_heads * head size (values padded to a multiple of 32) * element bytes a token position, in
  // slabs that grow on demand and are kept until the cache is destroyed.
  KvCache(const model::ModelSpec& spec, bool bf16);

  std::int64_t page_bytes() const { return page_bytes_; }
  Page take();  // all zero: what lies behind the last position must at least be finite
  Page take_copy(const char* from);
  void give_back(Page page) { used_.push_back(page); }

  const PanelLayout& key_layout() const { return key_; }
  const PanelLayout& value_layout() const { return value_; }
  char* keys(Page page, std::int64_t layer, std::int64_t head) const {
    return page + (layer * kv_heads_ + head) * (key_bytes_ + value_bytes_);
  }
  char* values(Page page, std::int64_t layer, std::int64_t head) const { return keys(page, layer, head) + key_bytes_; }
  // Of one head in one page.
  std::int64_t key_bytes() const { return key_bytes_; }
  std::int64_t value_bytes() const { return value_bytes_; }

  // Stores k and v [head size] of one position.
  void write(Page page, std::int64_t slot, std::int64_t layer, std::int64_t head, const float* k, const float* v) const;

 private:
  std::int64_t kv_heads_, head_size_, key_bytes_, value_bytes_, page_bytes_;
  PanelLayout key_, value_;
  std::vector<MemoryBlock> slabs_;
  std::vector<Page> fresh_, used_;  // free ones: never used (zero as the system gave them), or to be cleared
};

}  // namespace setrl::rollout
