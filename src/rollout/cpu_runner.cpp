// The engine on CPUs: packed weights, panel-layout pages, own kernels on a team of threads.
#include <ATen/Parallel.h>

#include "base/system.h"
#include "rollout/engine.h"
#include "rollout/forward.h"
#include "rollout/model_runner.h"
#include "rollout/weights.h"

namespace setrl::rollout {

namespace {

// Enough that reading the weights is paid by arithmetic.
constexpr std::int64_t kPrefillRows = 256;

// Neighbouring ranks take neighbouring cores; where there are more threads than cores they begin again.
std::vector<int> own_cores(int threads) {
  const std::vector<int> all = core_numbers();
  std::vector<int> own;
  for (int i = 0; i < threads && !all.empty(); ++i) {
    own.push_back(all[static_cast<std::size_t>(local_rank() * threads + i) % all.size()]);
  }
  return own;
}

class CpuRunner : public ModelRunner {
 public:
  CpuRunner(const model::ModelSpec& spec, bool bf16, const EngineOptions& options, comm::Communicator* ranks)
      : kernels_(kernels_of(options.isa.value_or(best_isa(bf16)), bf16)),
        weights_(spec, bf16, TensorShard::of(spec, ranks)),
        cache_(weights_.local(), bf16, options.kv_cache_bytes),
        forward_(weights_, kernels_, cache_),
        pin_(options.pin) {}

  void begin_update() override { weights_.begin_update(); }
  void update(const std::string& name, const at::Tensor& whole) override { weights_.update(name, whole); }
  void update_part(const std::string& name, const at::Tensor& part) override { weights_.update_part(name, part); }
  void end_update() override { weights_.end_update(); }
  bool ready() const override { return weights_.ready(); }

  PagePool& pages() override { return cache_; }
  std::int64_t prefill_rows() const override { return kPrefillRows; }
  std::int64_t tile_rows(std::int64_t length) const override { return forward_.attention().tile_rows(length); }
  void run(const Batch& batch, std::vector<Drawn>& results) override {
    const int threads = at::get_num_threads();
    if (!team_ || team_->size() != threads) {
      team_ = std::make_unique<ThreadTeam>(threads, pin_ ? own_cores(threads) : std::vector<int>());
    }
    forward_.run(*team_, batch, results);
  }
  const StageSeconds& stage_seconds() const override { return forward_.stage_seconds(); }

 private:
  const Kernels& kernels_;
  Weights weights_;
  KvCache cache_;
  Forward forward_;
  bool pin_;
  std::unique_ptr<ThreadTeam> team_;
};

}  // namespace

std::unique_ptr<ModelRunner> make_cpu_runner(const model::ModelSpec& spec, bool bf16, const EngineOptions& options,
                                             comm::Communicator* ranks) {
  return std::make_unique<CpuRunner>(spec, bf16, options, ranks);
}

}  // namespace setrl::rollout
