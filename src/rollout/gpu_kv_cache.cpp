#include "rollout/gpu_kv_cache.h"

#include "base/error.h"

namespace setrl::rollout::gpu {

namespace {

std::int64_t page_elements(const model::ModelSpec& spec, bool bf16) {
  return spec.layers * spec.kv_heads * 2 * kPage * padded_head_size(spec.head_size, bf16);
}

}  // namespace

static_assert(kPage == kPageTokens);

std::int64_t GpuKvCache::page_bytes_of(const model::ModelSpec& spec, bool bf16) {
  return page_elements(spec, bf16) * (bf16 ? 2 : 4);
}

GpuKvCache::GpuKvCache(Runtime& runtime, const model::ModelSpec& spec, bool bf16, std::int64_t pages)
    : runtime_(runtime), page_bytes_(page_bytes_of(spec, bf16)), limit_(pages) {
  const auto options = at::TensorOptions().dtype(bf16 ? at::kBFloat16 : at::kFloat).device(runtime.device());
  block_ = at::zeros({limit_ + 1, page_elements(spec, bf16)}, options);
  view_.data = block_.data_ptr();
  view_.page_elements = page_elements(spec, bf16);
  view_.kv_heads = spec.kv_heads;
  view_.head_size = spec.head_size;
  view_.bf16 = bf16;
  free_.reserve(static_cast<std::size_t>(limit_));
  for (std::int64_t i = limit_; i > 0; --i) free_.push_back(static_cast<char*>(block_.data_ptr()) + i * page_bytes_);
}

PagePool::Page GpuKvCache::take() {
  SETRL_CHECK(!free_.empty(), "all {} pages of the KV cache are taken", limit_);
  const Page page = free_.back();
  free_.pop_back();
  return page;
}

void GpuKvCache::give_back(Page page) {
  free_.push_back(page);
}

void GpuKvCache::copy(Page from, Page to) {
  runtime_.on_stream([&] { block_[number(to)].copy_(block_[number(from)]); });
}

std::int32_t GpuKvCache::number(Page page) const {
  return static_cast<std::int32_t>((page - static_cast<const char*>(view_.data)) / page_bytes_);
}

}  // namespace setrl::rollout::gpu
