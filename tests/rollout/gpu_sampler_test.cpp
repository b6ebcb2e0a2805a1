// Sampling on the device against Sampler, which the engine on CPUs draws with.
#include <cmath>

#include "base/random.h"
#include "gpu_standin.h"
#include "rollout/gpu_pass_plan.h"
#include "rollout/isa.h"
#include "rollout/sampler.h"

namespace setrl::rollout {
namespace {

using GpuSampler = test::GpuStandin;
INSTANTIATE_TEST_SUITE_P(Orders, GpuSampler, test::both_orders(), test::order_name);

struct Case {
  std::vector<float> logits;
  SamplingOptions options;
  double uniform = 0;
  std::int32_t forced = -1;
};

std::vector<gpu::DrawResult> sample(const std::vector<Case>& cases, int threads) {
  const std::size_t vocabulary = cases[0].logits.size();
  std::vector<float> logits;
  std::vector<gpu::DrawOrder> orders;
  for (const Case& each : cases) {
    DrawOrder order;
    order.logits = static_cast<std::int64_t>(orders.size());
    order.options = &each.options;
    order.uniform = each.uniform;
    order.forced = each.forced;
    orders.push_back(gpu::order_of(order));
    logits.insert(logits.end(), each.logits.begin(), each.logits.end());
  }
  std::vector<gpu::DrawResult> results(cases.size());
  gpu::sample(logits.data(), static_cast<std::int64_t>(vocabulary), static_cast<std::int64_t>(vocabulary),
              orders.data(), static_cast<std::int64_t>(orders.size()), results.data(), threads, nullptr);
  return results;
}

// Whether both ids may be meant: the target lies on the border between them, but for rounding. Only the ids in between
// count, and their probability is nothing.
bool on_a_border(const Case& each, std::int32_t a, std::int32_t b) {
  double max = each.logits[0], between = 0, total = 0;
  for (const float logit : each.logits) max = std::max<double>(max, logit);
  for (std::size_t i = 0; i < each.logits.size(); ++i) {
    const double weight = std::exp((each.logits[i] - max) / each.options.temperature);
    total += weight;
    if (static_cast<std::int32_t>(i) > std::min(a, b) && static_cast<std::int32_t>(i) < std::max(a, b))
      between += weight;
  }
  return between / total < 1e-6;
}

SamplingOptions options_of(int kind, RandomStream& random) {
  SamplingOptions options;
  options.temperature = kind % 5 == 0 ? 1.0 : 0.3 + 1.5 * random.uniform();
  if (kind % 7 == 6) options.temperature = 0;
  if (kind % 2 == 1) options.top_k = 1 + static_cast<int>(random.below(60));
  if (kind % 3 == 1) options.top_p = 0.05 + 0.95 * random.uniform();
  if (kind % 4 == 2) options.min_p = 0.3 * random.uniform();
  return options;
}

TEST_P(GpuSampler, DrawsAsTheEngineOnCpusDoes) {
  constexpr int kRounds = 100, kDraws = 24;
  RandomStream random(21, 4);
  SamplerScratch scratch;
  int different = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto vocabulary = static_cast<std::size_t>(1 + random.below(round % 10 == 0 ? 3000 : 400));
    std::vector<Case> cases(kDraws);
    for (int i = 0; i < kDraws; ++i) {
      Case& each = cases[static_cast<std::size_t>(i)];
      const int kind = round * kDraws + i;
      const double spread = 4.0 * random.uniform();
      for (std::size_t v = 0; v < vocabulary; ++v) {
        // Every other row has many ties, and zeros of both signs.
        const double value = spread * random.normal();
        each.logits.push_back(
            static_cast<float>(kind % 2 == 0 ? std::round(value) * (v % 2 == 0 ? 1.0 : -1.0) : value));
      }
      if (kind % 50 == 49) each.logits[random.below(vocabulary)] = kind % 100 == 49 ? INFINITY : NAN;
      each.options = options_of(kind, random);
      each.uniform = i == 0 ? 0.0 : i == 1 ? 1 - 0x1p-53 : random.uniform();
      if (kind % 11 == 10) each.forced = static_cast<std::int32_t>(random.below(vocabulary));
    }
    const auto results = sample(cases, 32 << round % 3);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Case& each = cases[i];
      const Sampler sampler(kernels_of(Isa::portable, false), static_cast<std::int64_t>(vocabulary), each.options);
      const Drawn want = each.forced >= 0 ? sampler.score(each.logits.data(), each.forced)
                                          : sampler.draw(each.logits.data(), each.uniform, scratch);
      ASSERT_EQ(results[i].finite != 0, want.finite);
      if (!want.finite) continue;
      if (results[i].id != want.id) {
        ++different;
        ASSERT_TRUE(on_a_border(each, results[i].id, want.id)) << results[i].id << " for " << want.id;
        continue;
      }
      ASSERT_NEAR(results[i].logprob, want.logprob, 5e-6 * std::max(1.0f, std::abs(want.logprob)));
    }
  }
  EXPECT_LE(different, 8);
}

TEST_P(GpuSampler, HasTheSameBitsWithAnyNumberOfThreads) {
  RandomStream random(5, 5);
  std::vector<Case> cases(6);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    for (int v = 0; v < 1500; ++v) cases[i].logits.push_back(static_cast<float>(2 * random.normal()));
    cases[i].options = options_of(static_cast<int>(i) + 1, random);
    cases[i].uniform = random.uniform();
  }
  const auto first = sample(cases, 32);
  for (const int threads : {64, 128, 256}) {
    const auto other = sample(cases, threads);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      EXPECT_EQ(other[i].id, first[i].id);
      EXPECT_EQ(other[i].logprob, first[i].logprob);
    }
  }
}

TEST_P(GpuSampler, KeepsTheFirstOfEqualLogits) {
  Case each;
  each.logits.assign(500, 1.0f);
  each.options.top_k = 3;
  each.uniform = 1 - 0x1p-53;
  EXPECT_EQ(sample({each}, 64)[0].id, 2);
  each.options.top_k = 0;
  each.options.top_p = 0.01;  // five of them
  EXPECT_EQ(sample({each}, 64)[0].id, 4);
  each.options.temperature = 0;
  each.logits[333] = each.logits[77] = 2;
  EXPECT_EQ(sample({each}, 64)[0].id, 77);
}

TEST_P(GpuSampler, LeavesOrdersAloneThatOnlyFillUp) {
  const std::vector<float> logits(100, 0.0f);
  const std::vector<gpu::DrawOrder> orders(2);
  std::vector<gpu::DrawResult> results(2, {7, 7, 7, 7});
  gpu::sample(logits.data(), 100, 100, orders.data(), 2, results.data(), 0, nullptr);
  EXPECT_EQ(results[0].id, 7);
}

}  // namespace
}  // namespace setrl::rollout
