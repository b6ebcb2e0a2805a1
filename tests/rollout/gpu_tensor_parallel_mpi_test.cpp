// Ranks that hold one model together, each on a stand-in for a GPU: the text of one engine on CPUs.
#include <ATen/Parallel.h>

#include "gap.h"
#include "gpu_standin.h"
#include "support/mpi_world.h"

namespace setrl::rollout {
namespace {

TEST(GpuTensorParallel, RanksTogetherWriteTheTextOfOneEngineOnCpus) {
  at::set_num_threads(1);
  auto spec = test::small_spec(model::Family::qwen2);
  spec.vocabulary = 212;
  spec.heads = 8;
  spec.kv_heads = 4;
  const auto tensors = test::random_tensors(spec);
  EngineOptions options;
  options.max_batch = 4;
  Engine host(spec, at::kFloat, options);
  options.device = at::Device(at::kCUDA, 0);
  Engine device(spec, at::kFloat, options, &testing::world());
  test::load(host, tensors);
  test::load(device, tensors);
  SamplingOptions sampling;
  sampling.max_new_tokens = 5;
  const std::vector<GenerationRequest> requests = {{0, "a", test::prompt_of(3, spec.vocabulary), 2, 0},
                                                   {1, "b", test::prompt_of(140, spec.vocabulary, 1), 2, 0}};
  const auto gap =
      test::gap_between(test::generate(host, requests, sampling), test::generate(device, requests, sampling));
  EXPECT_EQ(gap.different, 0);
  EXPECT_EQ(gap.tokens, 20);
  EXPECT_LT(gap.worst, 1e-4);
  EXPECT_TRUE(testing::world().size() == 1 || test::standin_counts().recorded == 0);  // sums over ranks are no launches
}

}  // namespace
}  // namespace setrl::rollout
