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

void KvCache::copy(Page from, Page to) {
  std::memcpy(to, from, static_cast<std::size_t>(page_bytes_));
}

void KvCache::fetch(Page page, std::int64_t slot, std::int64_t layer, std::int64_t head) const {
  const char* key_to = keys(page, layer, head) + key_.index(slot, 0) * key_.element_bytes();
  const char* value_to = values(page, layer, head) + value_.index(0, slot) * value_.element_bytes();
  for (const char* line = key_to; line < key_to + key_.panel_bytes(); line += kPanelColumns * 4) {
    __builtin_prefetch(line, 1);
  }
  for (std::int64_t d = 0; d < head_size_; d += kPanelColumns) __builtin_prefetch(value_to + value_offset(d), 1);
}

void KvCache::write(Page page, std::int64_t slot, std::int64_t layer, std::int64_t head, const float* k,
                    const float* v) const {
  char* key_to = keys(page, layer, head) + key_.index(slot, 0) * key_.element_bytes();
  char* value_to = values(page, layer, head) + value_.index(0, slot) * value_.element_bytes();
  const std::int64_t line = kPanelColumns * 4;  // bytes of one depth (float32) or pair of depths (bfloat16)
  if (!key_.bf16) {
    for (std::int64_t d = 0; d < head_size_; ++d) std::memcpy(key_to + d * line, k + d, 4);
    for (std::int64_t d = 0; d < head_size_; ++d) std::memcpy(value_to + value_offset(d), v + d, 4);
    return;
  }
  // Converted in blocks (which the compiler makes vector code of), then scattered.
  constexpr std::int64_t kBlock = 64;
  for (std::int64_t begin = 0; begin < head_size_; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, head_size_ - begin);
    std::uint16_t key_half[kBlock], value_half[kBlock];
    for (std::int64_t i = 0; i < count; ++i) key_half[i] = to_bf16_bits(k[begin + i]);
    for (std::int64_t i = 0; i < count; ++i) value_half[i] = to_bf16_bits(v[begin + i]);
    for (std::int64_t i = 0; i < count; i += 2) std::memcpy(key_to + (begin + i) / 2 * line, key_half + i, 4);
    for (std::int64_t i = 0; i < count; ++i) std::memcpy(value_to + value_offset(begin + i), value_half + i, 2);
  }
}

}  // namespace setrl::rollout
