#include "rollout/engine.h"

#include <limits>

#include "base/error.h"
#include "rollout/model_runner.h"
#include "rollout/scheduler.h"

namespace setrl::rollout {

namespace {

// Ranks that share a model plan alike: with the smallest of their budgets (0: none) and batches.
std::int64_t smallest(std::int64_t own, comm::Communicator* ranks) {
  if (ranks == nullptr) return own;
  double least = own > 0 ? static_cast<double>(own) : std::numeric_limits<double>::max();
  ranks->all_reduce(&least, 1, comm::Reduction::min);
  return least < std::numeric_limits<double>::max() ? static_cast<std::int64_t>(least) : 0;
}

EngineOptions agree(EngineOptions options, comm::Communicator* ranks) {
  options.kv_cache_bytes = smallest(options.kv_cache_bytes, ranks);
  options.max_batch = static_cast<int>(smallest(options.max_batch, ranks));
  return options;
}

std::unique_ptr<ModelRunner> make_runner(const model::ModelSpec& spec, bool bf16, const EngineOptions& options,
                                         comm::Communicator* ranks) {
  return options.device.is_cpu() ? make_cpu_runner(spec, bf16, options, ranks)
                                 : make_gpu_runner(spec, bf16, options, ranks);
}

}  // namespace

struct Engine::State {
  State(const model::ModelSpec& whole, bool bf16, const EngineOptions& agreed, comm::Communicator* ranks)
      : spec(whole),
        options(agreed),
        runner(make_runner(spec, bf16, options, ranks)),
        scheduler(spec, *runner, options.max_batch) {}

  const model::ModelSpec spec;
  const EngineOptions options;
  const std::unique_ptr<ModelRunner> runner;
  Scheduler scheduler;
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

EngineOptions short_options(int max_batch, std::optional<Isa> isa) {
  EngineOptions options;
  options.max_batch = max_batch;
  options.isa = isa;
  return options;
}

}  // namespace

EngineStats EngineStats::since(const EngineStats& earlier) const {
  EngineStats result = *this;
  result.prompt_tokens -= earlier.prompt_tokens;
  result.new_tokens -= earlier.new_tokens;
  result.recomputed_tokens -= earlier.recomputed_tokens;
  result.preemptions -= earlier.preemptions;
  result.prefill_s -= earlier.prefill_s;
  result.decode_s -= earlier.decode_s;
  return result;
}

Engine::Engine(const model::ModelSpec& spec, at::ScalarType dtype, const EngineOptions& options,
               comm::Communicator* ranks) {
  SETRL_CHECK(options.max_batch >= 1, "max_batch is {}", options.max_batch);
  state_ = std::make_unique<State>(spec, is_bf16(dtype), agree(options, ranks), ranks);
}

Engine::Engine(const model::ModelSpec& spec, at::ScalarType dtype, int max_batch, std::optional<Isa> isa)
    : Engine(spec, dtype, short_options(max_batch, isa)) {}

Engine::~Engine() = default;

void Engine::begin_update() {
  state_->runner->begin_update();
}

void Engine::update(const std::string& name, const at::Tensor& whole) {
  state_->runner->update(name, whole);
}

void Engine::update_part(const std::string& name, const at::Tensor& part) {
  state_->runner->update_part(name, part);
}

void Engine::end_update(std::int64_t version) {
  state_->runner->end_update();
  state_->version = version;
  if (state_->options.kv_on_update == KvOnUpdate::recompute) state_->scheduler.drop_cached();
}

std::int64_t Engine::version() const {
  return state_->version;
}

std::int64_t Engine::submit(GenerationRequest request, const SamplingOptions& sampling) {
  return state_->scheduler.submit(std::move(request), sampling);
}

void Engine::for_each_in_flight(const Visit& visit) const {
  state_->scheduler.for_each_in_flight(visit);
}

bool Engine::cancel(std::int64_t handle) {
  return state_->scheduler.cancel(handle);
}

void Engine::step(const Done& done, const OnToken& on_token) {
  SETRL_CHECK(state_->runner->ready(), "generation before a whole set of weights came");
  state_->scheduler.step(state_->version, done, on_token);
}

bool Engine::idle() const {
  return state_->scheduler.in_flight() == 0;
}

std::int64_t Engine::in_flight() const {
  return state_->scheduler.in_flight();
}

std::int64_t Engine::sequences() const {
  return state_->scheduler.sequences();
}

const EngineStats& Engine::stats() const {
  return state_->scheduler.stats();
}

const StageSeconds& Engine::stage_seconds() const {
  return state_->runner->stage_seconds();
}

EngineStats Engine::generate(const std::vector<GenerationRequest>& requests, const SamplingOptions& sampling,
                             const Done& done, const OnToken& on_token) {
  SETRL_CHECK(state_->runner->ready(), "generation before a whole set of weights came");
  SETRL_CHECK(idle(), "generate with {} requests in flight", in_flight());
  const EngineStats before = stats();
  try {
    for (const auto& request : requests) submit(request, sampling);
    while (!idle()) step(done, on_token);
  } catch (...) {
    state_->scheduler.cancel_all();
    throw;
  }
  return stats().since(before);
}

}  // namespace setrl::rollout
