#include "rollout/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace setrl::rollout {

std::int64_t kv_bytes_per_token(const model::ModelSpec& spec, bool bf16) {
  const std::int64_t values = round_up(spec.head_size, kTileColumns), keys = round_up(spec.head_size, bf16 ? 2 : 1);
  return spec.layers * spec.kv_heads * (keys + values) * (bf16 ? 2 : 4);
}

KvCache::KvCache(const model::ModelSpec& spec, bool bf16, std::int64_t limit_bytes)
    : kv_heads_(spec.kv_heads), head_size_(spec.head_size), key_{bf16, spec.head_size}, value_{bf16, kPageTokens} {
  key_bytes_ = kPageTokens / kPanelColumns * key_.panel_bytes();
  value_bytes_ = round_up(head_size_, kTileColumns) / kPanelColumns * value_.panel_bytes();
  page_bytes_ = spec.layers * kv_heads_ * (key_bytes_ + value_bytes_);
  limit_ = limit_bytes > 0 ? limit_bytes / page_bytes_ : std::numeric_limits<std::int64_t>::max() / page_bytes_;
}

KvCache::Page KvCache::take() {
  SETRL_CHECK(taken_ < limit_, "all {} pages of the KV cache are taken", limit_);
  ++taken_;
  if (!used_.empty()) {
    const Page page = used_.back();
    used_.pop_back();
    std::memset(page, 0, static_cast<std::size_t>(page_bytes_));
    return page;
  }
  if (fresh_.empty()) {
    const std::int64_t wanted = std::max<std::int64_t>(1, (std::int64_t{32} << 20) / page_bytes_);
    const std::int64_t pages = std::min(wanted, limit_ - made_);
    slabs_.emplace_back(pages * page_bytes_);
    made_ += pages;
    used_.reserve(static_cast<std::size_t>(made_));  // giving back never allocates
    for (std::int64_t i = pages; i-- > 0;) fresh_.push_back(slabs_.back().data() + i * page_bytes_);
  }
  const Page page = fresh_.back();
  fresh_.pop_back();
  return page;
}

void KvCache::give_back(Page page) {
  --taken_;
  used_.push_back(page);
}

void KvCache::write(Page page, std::int64_t slot, std::int64_t layer, std::int64_t head, const float* k,
                    const float* v) const {
  char* key_to = keys(page, layer, head);
  char* value_to = values(page, layer, head);
  if (key_.bf16) {
    auto* key_half = reinterpret_cast<std::uint16_t*>(key_to);
    auto* value_half = reinterpret_cast<std::uint16_t*>(value_to);
    for (std::int64_t d = 0; d < head_size_; ++d) key_half[key_.index(slot, d)] = to_bf16_bits(k[d]);
    for (std::int64_t d = 0; d < head_size_; ++d) value_half[value_.index(d, slot)] = to_bf16_bits(v[d]);
  } else {
    auto* key_full = reinterpret_cast<float*>(key_to);
    auto* value_full = reinterpret_cast<float*>(value_to);
    for (std::int64_t d = 0; d < head_size_; ++d) key_full[key_.index(slot, d)] = k[d];
    for (std::int64_t d = 0; d < head_size_; ++d) value_full[value_.index(d, slot)] = v[d];
  }
}

}  // namespace setrl::rollout
