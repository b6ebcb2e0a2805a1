// The engine on a real GPU against the engine on CPUs. Skipped, loudly, where there is none.
#include "base/error.h"
#include "gap.h"

namespace setrl::rollout {
namespace {

using test::Gap;
using test::gap_between;
using test::generate;
using test::prompt_of;

// Heads of 64 elements and groups of four, as real models have.
model::ModelSpec spec_of(model::Family family) {
  auto spec = test::small_spec(family);
  spec.vocabulary = 5003;
  spec.hidden = 512;
  spec.inner = 1280;
  spec.heads = 8;
  spec.kv_heads = 2;
  spec.head_size = 64;
  spec.max_positions = 2048;
  return spec;
}

std::vector<GenerationRequest> some_requests(const model::ModelSpec& spec) {
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 6; ++i) {
    requests.push_back({i, "p" + std::to_string(i), prompt_of(1 + 131 * i, spec.vocabulary, i), 1 + 3 * (i % 3), 0});
  }
  return requests;
}

class GpuDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    gpu_.device = at::Device(at::kCUDA, 0);
    gpu_.max_batch = cpu_.max_batch = 16;
    gpu_.kv_cache_bytes = std::int64_t{1} << 30;
    try {
      Engine(test::small_spec(model::Family::llama), at::kFloat, gpu_);
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
  }
  Gap gap_of(model::Family family, at::ScalarType dtype, double temperature) {
    const auto spec = spec_of(family);
    auto tensors = test::random_tensors(spec);
    if (dtype == at::kBFloat16) {  // as flat as distributions of real models are
      for (auto& [name, tensor] : tensors) tensor = tensor.dim() == 2 ? tensor * 0.5 : tensor;
    }
    Engine host(spec, dtype, cpu_), device(spec, dtype, gpu_);
    test::load(host, tensors);
    test::load(device, tensors);
    SamplingOptions sampling;
    sampling.temperature = temperature;
    sampling.max_new_tokens = 48;
    sampling.top_p = 0.95;
    return gap_between(generate(host, some_requests(spec), sampling), generate(device, some_requests(spec), sampling));
  }
  EngineOptions cpu_, gpu_;
};

TEST_F(GpuDevice, WritesTheTextOfCpusInFloat32) {
  for (const auto family : {model::Family::llama, model::Family::qwen2, model::Family::qwen3}) {
    for (const double temperature : {0.0, 0.8}) {
      const Gap gap = gap_of(family, at::kFloat, temperature);
      EXPECT_EQ(gap.different, 0);
      EXPECT_LT(gap.worst, 1e-4);
    }
  }
}

TEST_F(GpuDevice, StaysNearCpusInBfloat16) {
  const Gap gap = gap_of(model::Family::qwen3, at::kBFloat16, 0.0);
  EXPECT_GT(gap.tokens, 100);
  EXPECT_LT(gap.sum / gap.tokens, 2e-2);
}

// The same requests, few at a time: with other graphs, other tiles and other shapes of the products.
TEST_F(GpuDevice, StaysNearItselfInOtherBatches) {
  const auto spec = spec_of(model::Family::llama);
  const auto tensors = test::random_tensors(spec);
  EngineOptions narrow = gpu_;
  narrow.max_batch = 3;
  Engine wide(spec, at::kFloat, gpu_), few(spec, at::kFloat, narrow);
  test::load(wide, tensors);
  test::load(few, tensors);
  SamplingOptions sampling;
  sampling.max_new_tokens = 48;
  const Gap gap =
      gap_between(generate(wide, some_requests(spec), sampling), generate(few, some_requests(spec), sampling));
  EXPECT_EQ(gap.different, 0);
  EXPECT_LT(gap.worst, 1e-4);
}

}  // namespace
}  // namespace setrl::rollout
