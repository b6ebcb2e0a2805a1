#include "rollout/engine.h"

#include <ATen/Parallel.h>

#include "base/error.h"
#include "rollout/generation.h"
#include "rollout/weights.h"

namespace setrl::rollout {

struct Engine::State {
  State(const model::ModelSpec& spec, bool bf16, int max_sequences, Isa isa)
      : kernels(kernels_of(isa, bf16)),
        weights(spec, bf16),
        cache(spec, bf16),
        forward(weights, kernels, cache),
        max_batch(max_sequences) {}

  const Kernels& kernels;
  Weights weights;
  KvCache cache;
  Forward forward;
  const int max_batch;
  std::unique_ptr<ThreadTeam> team;
  std::int64_t version = -1;
};

namespace {
bool is_bf16(at::ScalarType dtype) {
  if (dtype != at::kFloat && dtype != at::kBFloat16) {
    throw_user_error("the rollout engine computes in float32 or bfloat16, not {}: set model.dtype",
                     c10::toString(dtype));
  }
  return dtype == at::kBFloat16;
}
}  // namespace

Engine::Engine(const model::ModelSpec& spec, at::ScalarType dtype, int max_batch, std::optional<Isa> isa) {
  SETRL_CHECK(max_batch >= 1, "max_batch is {}", max_batch);
  const bool bf16 = is_bf16(dtype);
  state_ = std::make_unique<State>(spec, bf16, max_batch, isa.value_or(best_isa(bf16)));
}

Engine::~Engine() = default;

void Engine::begin_update() {
  state_->weights.begin_update();
}

void Engine::update(const std::string& name, const at::Tensor& tensor) {
  state_->weights.update(name, tensor);
}

void Engine::end_update(std::int64_t version) {
  state_->weights.end_update();
  state_->version = version;
}

std::int64_t Engine::version() const {
  return state_->version;
}

EngineStats Engine::generate(const std::vector<GenerationRequest>& requests, const SamplingOptions& sampling,
                             const Done& done, const OnToken& on_token) {
  SETRL_CHECK(state_->weights.ready(), "generation before a whole set of weights came");
  const int threads = at::get_num_threads();
  if (!state_->team || state_->team->size() != threads) state_->team = std::make_unique<ThreadTeam>(threads);
  Generation generation(state_->weights.spec(), state_->kernels, state_->cache, state_->forward, *state_->team,
                        requests, sampling, state_->max_batch, state_->version);
  return generation.run(done, on_token);
}

}  // namespace setrl::rollout
