// The engine on a GPU.
#include <algorithm>
#include <limits>

#include "base/error.h"
#include "rollout/engine.h"
#include "rollout/gpu_forward.h"
#include "rollout/model_runner.h"

namespace setrl::rollout {

namespace {

// Enough that the products are bound by arithmetic.
constexpr std::int64_t kPrefillRows = 1024;
// Of the memory that is free once weights and buffers are there, how much the pages get where no budget is given: the
// rest is for LibTorch's work spaces, graphs, and buffers that grow.
constexpr double kPageShare = 0.85;

void check_fits(const model::ModelSpec& spec) {
  const std::int64_t group = spec.heads / spec.kv_heads;
  if (spec.head_size > gpu::kMostHeadSize || group > gpu::kMostQueryRows || spec.vocabulary > gpu::kMostVocabulary) {
    throw_user_error(
        "the rollout engine's GPU kernels take heads of up to {} elements, {} query heads a kv head and {} words, not "
        "{}, {} and {}: generate on CPUs",
        gpu::kMostHeadSize, gpu::kMostQueryRows, gpu::kMostVocabulary, spec.head_size, group, spec.vocabulary);
  }
}

class GpuRunner : public ModelRunner {
 public:
  GpuRunner(const model::ModelSpec& spec, bool bf16, const EngineOptions& options, comm::Communicator* ranks)
      : runtime_(gpu::make_runtime(options.device, ranks != nullptr && ranks->size() > 1)),
        weights_(spec, bf16, TensorShard::of(spec, ranks), runtime_->device()),
        forward_(*runtime_, weights_, bf16, kPrefillRows + options.max_batch, options.max_batch),
        cache_(*runtime_, weights_.local(), bf16, page_count(bf16, options, ranks)) {
    runtime_->wait_for_all();
  }

  // Weights are copied on the caller's stream: no pass may read them meanwhile, nor before they are there.
  void begin_update() override { weights_.begin_update(); }
  void update(const std::string& name, const at::Tensor& whole) override { weights_.update(name, whole); }
  void update_part(const std::string& name, const at::Tensor& part) override { weights_.update_part(name, part); }
  void end_update() override {
    weights_.end_update();
    runtime_->wait_for_all();
  }
  bool ready() const override { return weights_.ready(); }

  PagePool& pages() override { return cache_; }
  std::int64_t prefill_rows() const override { return kPrefillRows; }
  std::int64_t tile_rows(std::int64_t /*length*/) const override {
    return gpu::kMostQueryRows / (weights_.local().heads / weights_.local().kv_heads);
  }
  void run(const Batch& batch, std::vector<Drawn>& results) override { forward_.run(batch, cache_, results); }
  const StageSeconds& stage_seconds() const override { return stages_; }

 private:
  // As many pages as the budget holds, the same on all ranks, but no more than max_batch sequences and as many prompts
  // of the model's length can ever take.
  std::int64_t page_count(bool bf16, const EngineOptions& options, comm::Communicator* ranks) const {
    const model::ModelSpec& spec = weights_.local();
    const std::int64_t page_bytes = gpu::GpuKvCache::page_bytes_of(spec, bf16);
    auto bytes = static_cast<double>(options.kv_cache_bytes);
    if (options.kv_cache_bytes == 0) {
      bytes = kPageShare * static_cast<double>(runtime_->free_bytes());
      if (ranks != nullptr) ranks->all_reduce(&bytes, 1, comm::Reduction::min);
    }
    // One page is no sequence's.
    auto pages = static_cast<std::int64_t>(bytes / static_cast<double>(page_bytes)) - 1;
    if (spec.max_positions > 0) {
      pages = std::min(pages, 2 * options.max_batch * (PagePool::pages_of(spec.max_positions) + 1));
    }
    pages = std::min<std::int64_t>(pages, std::numeric_limits<std::int32_t>::max());
    if (pages < 2) {
      throw_user_error("device {} has no room for keys and values: {} MiB for pages of {} MiB",
                       runtime_->device().str(), static_cast<std::int64_t>(bytes) >> 20, (page_bytes >> 20) + 1);
    }
    return pages;
  }

  std::unique_ptr<gpu::Runtime> runtime_;
  gpu::GpuWeights weights_;
  gpu::GpuForward forward_;
  gpu::GpuKvCache cache_;
  StageSeconds stages_{};
};

}  // namespace

std::unique_ptr<ModelRunner> make_gpu_runner(const model::ModelSpec& spec, bool bf16, const EngineOptions& options,
                                             comm::Communicator* ranks) {
  check_fits(spec);
  return std::make_unique<GpuRunner>(spec, bf16, options, ranks);
}

}  // namespace setrl::rollout
