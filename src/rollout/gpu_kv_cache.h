// Pages of keys and values in the memory of a GPU: one block, made at the start. How a page is laid out: gpu_kernels.h.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "model/model_spec.h"
#include "rollout/gpu_runtime.h"
#include "rollout/page_pool.h"

namespace setrl::rollout::gpu {

class GpuKvCache : public PagePool {
 public:
  // Of a model `spec` (this rank's part). Takes the memory at once. `runtime` must outlive it.
  GpuKvCache(Runtime& runtime, const model::ModelSpec& spec, bool bf16, std::int64_t pages);

  static std::int64_t page_bytes_of(const model::ModelSpec& spec, bool bf16);

  std::int64_t page_bytes() const override { return page_bytes_; }
  std::int64_t limit() const override { return limit_; }
  std::int64_t available() const override { return static_cast<std::int64_t>(free_.size()); }
  Page take() override;  // holds what was in it before
  void give_back(Page page) override;
  void copy(Page from, Page to) override;

  const Cache& view() const { return view_; }
  // Of a page that was taken. Number 0 is for rows that only fill up a pass.
  std::int32_t number(Page page) const;

 private:
  Runtime& runtime_;
  std::int64_t page_bytes_, limit_;
  at::Tensor block_;  // [limit + 1, elements of a page], zero at first
  Cache view_;
  std::vector<Page> free_;
};

}  // namespace setrl::rollout::gpu
