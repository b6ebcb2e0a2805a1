// Keys and values in pages of 32 token positions, all layers and heads of a position in one page, in the kernels' panel
// layout, so that both products of attention are tile calls: keys are the "columns" of the score product (K = head
// size), head dimensions those of the value product (K = 32 positions).
#pragma once

#include <cstdint>
#include <vector>

#include "model/model_spec.h"
#include "rollout/layout.h"
#include "rollout/memory_block.h"
#include "rollout/page_pool.h"

namespace setrl::rollout {

// Memory of one token position: 2 * layers * kv_heads * head size elements of 2 or 4 bytes, the head size of values
// padded to a multiple of 32.
std::int64_t kv_bytes_per_token(const model::ModelSpec& spec, bool bf16);

class KvCache : public PagePool {
 public:
  // At most `limit_bytes` (0: no limit), in slabs that grow on demand and are kept until the cache is destroyed.
  KvCache(const model::ModelSpec& spec, bool bf16, std::int64_t limit_bytes = 0);

  std::int64_t page_bytes() const override { return page_bytes_; }
  std::int64_t limit() const override { return limit_; }
  std::int64_t available() const override { return limit_ - taken_; }
  Page take() override;  // all zero: what lies behind the last position must at least be finite
  void give_back(Page page) override;
  void copy(Page from, Page to) override;

  const PanelLayout& key_layout() const { return key_; }
  const PanelLayout& value_layout() const { return value_; }
  char* keys(Page page, std::int64_t layer, std::int64_t head) const {
    return page + (layer * kv_heads_ + head) * (key_bytes_ + value_bytes_);
  }
  char* values(Page page, std::int64_t layer, std::int64_t head) const { return keys(page, layer, head) + key_bytes_; }
  // Of one head in one page.
  std::int64_t key_bytes() const { return key_bytes_; }
  std::int64_t value_bytes() const { return value_bytes_; }

  // Asks for the cache lines that write() will touch.
  void fetch(Page page, std::int64_t slot, std::int64_t layer, std::int64_t head) const;
  // Stores k and v [head size] of one position.
  void write(Page page, std::int64_t slot, std::int64_t layer, std::int64_t head, const float* k, const float* v) const;

 private:
  // Distance in bytes of head dimension d from the first one, for values of one position.
  std::int64_t value_offset(std::int64_t d) const {
    return d / kPanelColumns * value_.panel_bytes() + d % kPanelColumns * 4;
  }

  std::int64_t kv_heads_, head_size_, key_bytes_, value_bytes_, page_bytes_, limit_ = 0;
  std::int64_t taken_ = 0, made_ = 0;
  PanelLayout key_, value_;
  std::vector<MemoryBlock> slabs_;
  std::vector<Page> fresh_, used_;  // free ones: never used (zero as the system gave them), or to be cleared
};

}  // namespace setrl::rollout
