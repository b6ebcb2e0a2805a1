// The whole engine on the stand-in for a GPU (same scheduler, plans, launches and kernels; products by LibTorch on host
// memory) against the engine on CPUs.
#include <ATen/Parallel.h>

#include "base/error.h"
#include "gap.h"
#include "gpu_standin.h"
#include "support.h"

namespace setrl::rollout {
namespace {

using model::Family;
using test::Gap;
using test::gap_between;
using test::generate;
using test::prompt_of;

class GpuEngine : public test::GpuStandin {
 protected:
  GpuEngine() { at::set_num_threads(1); }
  static EngineOptions options_of(bool gpu, int max_batch = 8, std::int64_t kv_cache_bytes = 0) {
    EngineOptions options;
    options.device = gpu ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
    options.max_batch = max_batch;
    options.kv_cache_bytes = kv_cache_bytes;
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(Orders, GpuEngine, test::both_orders(), test::order_name);

// Prompts of one token, of whole pages and of more than a chunk of attention; samples that share them.
std::vector<GenerationRequest> some_requests(const model::ModelSpec& spec) {
  return {{0, "a", prompt_of(1, spec.vocabulary), 2, 0},
          {1, "b", prompt_of(133, spec.vocabulary, 1), 3, 2},
          {2, "c", prompt_of(32, spec.vocabulary, 2), 1, 0}};
}

TEST_P(GpuEngine, WritesTheTextOfTheEngineOnCpus) {
  for (const Family family : {Family::qwen3, Family::llama, Family::qwen2}) {
    if (GetParam() == cuda_standin::Order::backward && family != Family::qwen3) break;  // the same kernels
    const auto spec = test::small_spec(family);
    const auto tensors = test::random_tensors(spec);
    Engine host(spec, at::kFloat, options_of(false)), device(spec, at::kFloat, options_of(true));
    test::load(host, tensors, 3);
    test::load(device, tensors, 3);
    for (const double temperature : {0.0, 0.8}) {
      SamplingOptions sampling;
      sampling.temperature = temperature;
      sampling.max_new_tokens = 5;
      sampling.top_p = 0.9;
      sampling.min_p = 0.01;
      const auto requests = some_requests(spec);
      const Gap gap = gap_between(generate(host, requests, sampling), generate(device, requests, sampling));
      EXPECT_EQ(gap.different, 0);
      EXPECT_EQ(gap.tokens, 30);
      EXPECT_LT(gap.worst, 1e-4);
    }
  }
}

TEST_P(GpuEngine, StaysNearTheEngineOnCpusInBfloat16) {
  const auto spec = test::small_spec(Family::qwen3);
  const auto tensors = test::random_tensors(spec);
  Engine host(spec, at::kBFloat16, options_of(false)), device(spec, at::kBFloat16, options_of(true));
  test::load(host, tensors);
  test::load(device, tensors);
  SamplingOptions sampling;
  sampling.max_new_tokens = 6;
  const auto requests = some_requests(spec);
  const Gap gap = gap_between(generate(host, requests, sampling), generate(device, requests, sampling));
  EXPECT_GE(gap.tokens, 18);
  // Each of the two is allowed 0.04 from the exact value (engine_test).
  EXPECT_LT(gap.sum / gap.tokens, 0.06);
  EXPECT_LT(gap.worst, 0.4);
}

TEST_P(GpuEngine, ReplaysGraphsWhileItDecodes) {
  const auto spec = test::small_spec(Family::llama);
  Engine device(spec, at::kFloat, options_of(true, 2));
  test::load(device, test::random_tensors(spec));
  SamplingOptions sampling;
  sampling.max_new_tokens = 12;
  const test::StandinCounts before = test::standin_counts();
  generate(device, {{0, "p", prompt_of(20, spec.vocabulary), 2, 0}}, sampling);
  const test::StandinCounts& after = test::standin_counts();
  // Of eleven passes that decode the first runs as it is, the second is recorded; all but the first are replayed.
  EXPECT_EQ(after.recorded - before.recorded, 1);
  EXPECT_EQ(after.replayed - before.replayed, 10);
}

TEST_P(GpuEngine, ASmallCacheChangesNoText) {
  const auto spec = test::small_spec(Family::llama);
  const auto tensors = test::random_tensors(spec);
  const std::int64_t page_bytes = spec.layers * spec.kv_heads * 64 * spec.head_size * 4;
  Engine roomy(spec, at::kFloat, options_of(true, 4)), tight(spec, at::kFloat, options_of(true, 4, 6 * page_bytes));
  test::load(roomy, tensors);
  test::load(tight, tensors);
  SamplingOptions sampling;
  sampling.max_new_tokens = 8;
  const std::vector<GenerationRequest> requests = {{0, "a", prompt_of(60, spec.vocabulary), 3, 0},
                                                   {1, "b", prompt_of(29, spec.vocabulary, 1), 2, 0}};
  const auto wanted = generate(roomy, requests, sampling), got = generate(tight, requests, sampling);
  EXPECT_GT(tight.stats().preemptions, 0);
  EXPECT_EQ(gap_between(wanted, got).different, 0);
  EXPECT_LT(gap_between(wanted, got).worst, 1e-4);
  GenerationRequest large{2, "c", prompt_of(200, spec.vocabulary), 1, 0};
  EXPECT_THROW(tight.submit(large, sampling), UserError);
}

TEST_P(GpuEngine, TakesNewWeightsAndReportsDamagedOnes) {
  const auto spec = test::small_spec(Family::qwen2);
  auto tensors = test::random_tensors(spec);
  Engine host(spec, at::kFloat, options_of(false)), device(spec, at::kFloat, options_of(true));
  test::load(device, tensors, 1);
  SamplingOptions sampling;
  sampling.max_new_tokens = 3;
  const GenerationRequest request{0, "a", prompt_of(40, spec.vocabulary), 2, 0};
  generate(device, {request}, sampling);
  auto damaged = tensors;
  damaged["model.norm.weight"] = tensors["model.norm.weight"] * NAN;
  test::load(device, damaged, 2);
  EXPECT_THROW(generate(device, {request}, sampling), UserError);
  EXPECT_TRUE(device.idle());
  for (auto& [name, tensor] : tensors) tensor = tensor * 1.25;
  test::load(device, tensors, 3);
  test::load(host, tensors, 3);
  const Gap gap = gap_between(generate(host, {request}, sampling), generate(device, {request}, sampling));
  EXPECT_EQ(gap.different, 0);
  EXPECT_LT(gap.worst, 1e-4);
}

TEST_P(GpuEngine, RefusesModelsThatTheKernelsCannotTake) {
  auto spec = test::small_spec(Family::llama);
  spec.head_size = 256;
  EXPECT_THROW(Engine(spec, at::kFloat, options_of(true)), UserError);
}

}  // namespace
}  // namespace setrl::rollout
