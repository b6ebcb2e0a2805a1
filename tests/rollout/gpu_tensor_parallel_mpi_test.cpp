// Ranks that hold one model together, each on a stand-in for a GPU: the text of one engine on CPUs.
#include <ATen/Parallel.h>

#include "gap.h"
#include "gpu_standin.h"
#include "rollout/gpu_rank_sums.h"
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

// The parts of a projection, summed over the ranks and added, are the whole product.
TEST(GpuTensorParallel, PartsOfAProjectionAreTheWhole) {
  const auto runtime = gpu::make_runtime(at::Device(at::kCUDA, 0), true);
  comm::Communicator& world = testing::world();
  const std::int64_t ranks = world.size(), rank = world.rank(), inner = 6;
  at::manual_seed(3);  // all ranks draw the same
  for (const std::int64_t columns : {8, 12, 96, 160, 272}) {
    for (const std::int64_t rows : {1, 3, 7}) {
      const at::Tensor a = at::randn({rows, ranks * inner}), b = at::randn({columns, ranks * inner});
      const at::Tensor residual = at::randn({rows, columns}), weight = at::rand({columns}),
                       out = at::empty({1, columns * 9});
      const at::Tensor expected = residual + at::mm(a, b.t());
      const at::Tensor expected_normed = expected * at::rsqrt(expected.square().mean(1, true) + 1e-5) * weight;
      gpu::RankSums sums(*runtime, ranks == 1 ? nullptr : &world);
      const auto mine = [&](const at::Tensor& whole) { return whole.narrow(1, rank * inner, inner).contiguous(); };
      const gpu::Addend sum = sums.project(mine(a), mine(b), out);
      sums.wait();
      const std::int64_t bytes = 4 * rows * columns;
      const std::int64_t parts = bytes >= 2048 && columns % 16 == 0 ? 4 : bytes >= 1024 && columns % 8 == 0 ? 2 : 1;
      EXPECT_EQ(sum.parts, ranks == 1 ? 1 : parts) << rows << " rows of " << columns;
      const at::Tensor normed = at::empty_like(residual);
      gpu::add_norm(residual.data_ptr<float>(), sum, weight.data_ptr<float>(), 1e-5f, rows, columns,
                    normed.data_ptr<float>(), false, runtime->stream());
      EXPECT_LT((residual - expected).abs().max().item<float>(), 1e-5) << rows << " rows of " << columns;
      EXPECT_LT((normed - expected_normed).abs().max().item<float>(), 1e-5) << rows << " rows of " << columns;
    }
  }
}

}  // namespace
}  // namespace setrl::rollout
