#include "rollout/bench.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "rollout/kv_cache.h"

namespace setrl::rollout {

namespace {

double timed_run(Engine& engine, const model::ModelSpec& spec, const BenchOptions& options, int new_tokens,
                 RandomStream& random) {
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < options.batch / options.group; ++i) {
    GenerationRequest request;
    request.tag = i;
    request.problem_id = fmt::format("bench-{}", random.position());
    request.samples = options.group;
    for (int t = 0; t < options.prompt; ++t) {
      request.prompt.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(spec.vocabulary))));
    }
    requests.push_back(std::move(request));
  }
  SamplingOptions sampling;
  sampling.max_new_tokens = new_tokens;
  sampling.seed = options.seed;
  const Stopwatch clock;
  const EngineStats stats = engine.generate(requests, sampling, nullptr);
  SETRL_CHECK(stats.new_tokens == static_cast<std::int64_t>(options.batch) * new_tokens, "{} tokens came",
              stats.new_tokens);
  return clock.seconds();
}

}  // namespace

double product_seconds(const model::ModelSpec& spec, at::ScalarType dtype, int batch) {
  const at::NoGradGuard no_grad;
  const std::int64_t q = spec.heads * spec.head_size, kv = spec.kv_heads * spec.head_size;
  using Shape = std::array<std::int64_t, 2>;
  const std::array<Shape, 4> shapes = {Shape{q + 2 * kv, spec.hidden}, Shape{spec.hidden, q},
                                       Shape{2 * spec.inner, spec.hidden}, Shape{spec.hidden, spec.inner}};
  std::int64_t layer_bytes = 0;
  for (const auto& shape : shapes) layer_bytes += shape[0] * shape[1] * (dtype == at::kFloat ? 4 : 2);
  const std::int64_t layers = std::clamp<std::int64_t>((std::int64_t{1} << 30) / layer_bytes, 1, spec.layers);
  std::vector<at::Tensor> weights;
  for (std::int64_t i = 0; i < layers; ++i) {
    for (const auto& shape : shapes) weights.push_back(at::randn(shape, dtype));
  }
  const at::Tensor head = at::randn({spec.vocabulary, spec.hidden}, dtype);
  std::map<std::int64_t, at::Tensor> inputs;
  for (const auto& shape : shapes) inputs[shape[1]] = at::randn({batch, shape[1]}, dtype);
  double best_layers = std::numeric_limits<double>::infinity(), best_head = best_layers;
  for (int repeat = 0; repeat < 6; ++repeat) {  // the first one warms up; it cannot be the best
    Stopwatch clock;
    for (const auto& weight : weights) at::linear(inputs.at(weight.size(1)), weight);
    best_layers = std::min(best_layers, clock.restart());
    at::linear(inputs.at(spec.hidden), head);
    best_head = std::min(best_head, clock.seconds());
  }
  return best_layers * static_cast<double>(spec.layers) / static_cast<double>(layers) + best_head;
}

double decode_step_bytes(const model::ModelSpec& spec, at::ScalarType dtype, const BenchOptions& options) {
  const std::int64_t embedding = spec.tied_embeddings ? 0 : spec.vocabulary * spec.hidden;
  const auto weights =
      static_cast<double>((spec.parameter_count() - embedding) * static_cast<std::int64_t>(c10::elementSize(dtype)));
  const double positions = static_cast<double>(options.batch) / options.group * options.prompt +
                           static_cast<double>(options.batch) * options.new_tokens / 2;
  return weights + positions * static_cast<double>(kv_bytes_per_token(spec, dtype == at::kBFloat16));
}

namespace {

// The best of a few copies of 256 MiB, each waited for.
double copy_bytes_per_s(at::Device device) {
  const at::Tensor from = at::zeros({std::int64_t{1} << 28}, at::TensorOptions().dtype(at::kByte).device(device));
  const at::Tensor to = at::empty_like(from);
  double best = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < 6; ++repeat) {  // the first one warms up; it cannot be the best
    from.narrow(0, 0, 1).to(at::kCPU);
    const Stopwatch clock;
    to.copy_(from);
    to.narrow(0, 0, 1).to(at::kCPU);
    best = std::min(best, clock.seconds());
  }
  return 2.0 * static_cast<double>(from.numel()) / best;
}

}  // namespace

BenchResult bench_rollout(Engine& engine, const model::ModelSpec& spec, at::ScalarType dtype,
                          const BenchOptions& options) {
  if (options.group < 1 || options.batch < 1 || options.batch % options.group != 0 || options.new_tokens < 2) {
    throw_user_error("bench.batch {} must be a multiple of bench.group {}, bench.new {} at least 2", options.batch,
                     options.group, options.new_tokens);
  }
  RandomStream random(options.seed, stable_hash("rollout bench"));
  timed_run(engine, spec, options, 2, random);
  const StageSeconds start = engine.stage_seconds();
  const double first = timed_run(engine, spec, options, 1, random);
  const StageSeconds middle = engine.stage_seconds();
  BenchResult result;
  result.seconds = timed_run(engine, spec, options, options.new_tokens, random);
  for (std::size_t i = 0; i < kStages; ++i) {
    result.prefill_stages[i] = middle[i] - start[i];
    result.decode_stages[i] = engine.stage_seconds()[i] - middle[i] - result.prefill_stages[i];
  }
  result.tokens_per_s = static_cast<double>(options.batch) * options.new_tokens / result.seconds;
  result.decode_tokens_per_s =
      static_cast<double>(options.batch) * (options.new_tokens - 1) / std::max(result.seconds - first, 1e-9);
  result.prefill_tokens_per_s =
      static_cast<double>(options.batch) / options.group * options.prompt / std::max(first, 1e-9);
  if (options.device.is_cpu()) {
    result.limit_tokens_per_s = options.batch / product_seconds(spec, dtype, options.batch);
  } else {
    result.memory_bytes_per_s = copy_bytes_per_s(options.device);
    result.limit_tokens_per_s = options.batch * result.memory_bytes_per_s / decode_step_bytes(spec, dtype, options);
  }
  result.fraction_of_limit = result.decode_tokens_per_s / result.limit_tokens_per_s;
  return result;
}

}  // namespace setrl::rollout
