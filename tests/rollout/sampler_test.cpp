// Draws against the exact distribution.
#include "rollout/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "distribution.h"
#include "rollout/isa.h"

namespace setrl::rollout {
namespace {

using test::chi_square_deviate;
using test::exact;

constexpr int kDraws = 20000;

std::vector<float> some_logits(int vocabulary) {
  RandomStream random(11, 5);
  std::vector<float> logits;
  for (int i = 0; i < vocabulary; ++i) logits.push_back(static_cast<float>(2.5 * random.normal()));
  return logits;
}

void check_distribution(const SamplingOptions& options, int vocabulary) {
  const auto logits = some_logits(vocabulary);
  const auto want = exact(logits, options);
  SamplingOptions unfiltered;
  unfiltered.temperature = options.temperature;
  const auto policy = exact(logits, unfiltered);
  for (const Isa isa : available_isas(false)) {
    const Sampler sampler(kernels_of(isa, false), vocabulary, options);
    SamplerScratch scratch;
    std::vector<int> counts(logits.size());
    for (int i = 0; i < kDraws; ++i) {
      const Drawn drawn = sampler.draw(logits.data(), uniform_at(3, 4, static_cast<std::uint32_t>(i), 0), scratch);
      const auto id = static_cast<std::size_t>(drawn.id);
      ASSERT_TRUE(drawn.finite);
      ASSERT_GT(want[id], 0) << "drew a token that the filter excludes";
      ASSERT_NEAR(drawn.logprob, std::log(policy[id]), 1e-5);
      ++counts[id];
    }
    EXPECT_LT(std::abs(chi_square_deviate(want, counts)), 4.0) << kernels_of(isa, false).name;
  }
}

TEST(Sampler, DrawsFromTheTemperedSoftmax) {
  SamplingOptions options;
  check_distribution(options, 211);
  options.temperature = 0.7;
  check_distribution(options, 2051);
}

TEST(Sampler, DrawsFromTheTopK) {
  SamplingOptions options;
  options.top_k = 10;
  check_distribution(options, 211);
}

TEST(Sampler, DrawsFromTheNucleus) {
  SamplingOptions options;
  options.top_p = 0.8;
  check_distribution(options, 2051);
}

TEST(Sampler, DrawsAboveTheSmallestProbability) {
  SamplingOptions options;
  options.min_p = 0.05;
  check_distribution(options, 211);
}

TEST(Sampler, AppliesAllFiltersTogether) {
  SamplingOptions options;
  options.temperature = 1.3;
  options.top_k = 40;
  options.top_p = 0.9;
  options.min_p = 0.02;
  check_distribution(options, 2051);
}

TEST(Sampler, TheTestItselfSeesAWrongDistribution) {
  SamplingOptions options;
  const auto logits = some_logits(211);
  options.temperature = 1.1;
  const auto slightly_wrong = exact(logits, options);
  options.temperature = 1.0;
  const Sampler sampler(kernels_of(Isa::portable, false), 211, options);
  SamplerScratch scratch;
  std::vector<int> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) {
    ++counts[static_cast<std::size_t>(
        sampler.draw(logits.data(), uniform_at(3, 4, static_cast<std::uint32_t>(i), 0), scratch).id)];
  }
  EXPECT_GT(chi_square_deviate(slightly_wrong, counts), 4.0);
}

TEST(Sampler, GreedyTakesTheLowestOfEqualLogits) {
  std::vector<float> logits(3000, 0.0f);
  logits[1500] = logits[700] = 2.0f;
  SamplingOptions options;
  options.temperature = 0;
  for (const Isa isa : available_isas(false)) {
    SamplerScratch scratch;
    const Drawn drawn = Sampler(kernels_of(isa, false), 3000, options).draw(logits.data(), 0.9, scratch);
    EXPECT_EQ(drawn.id, 700);
    EXPECT_NEAR(drawn.logprob, 2 - std::log(2 * std::exp(2.0) + 2998), 1e-5);
  }
}

TEST(Sampler, ExtremesStayInside) {
  // All mass on one token, at every border of the unit interval; equal logits with top-k; a flat vocabulary.
  SamplerScratch scratch;
  std::vector<float> logits(2500, -200.0f);
  logits[2499] = 50.0f;
  SamplingOptions options;
  const Sampler plain(kernels_of(Isa::portable, false), 2500, options);
  for (const double u : {0.0, 0.5, 1 - 0x1p-53}) EXPECT_EQ(plain.draw(logits.data(), u, scratch).id, 2499);
  const std::vector<float> flat(2500, 1.0f);
  EXPECT_EQ(plain.draw(flat.data(), 0.0, scratch).id, 0);
  EXPECT_EQ(plain.draw(flat.data(), 1 - 0x1p-53, scratch).id, 2499);
  options.top_k = 3;
  const Sampler three(kernels_of(Isa::portable, false), 2500, options);
  EXPECT_EQ(three.draw(flat.data(), 1 - 0x1p-53, scratch).id, 2);
  logits[7] = NAN;
  EXPECT_FALSE(plain.draw(logits.data(), 0.5, scratch).finite);
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  SamplingOptions options;
  options.top_p = 0;
  EXPECT_THROW(Sampler(kernels_of(Isa::portable, false), 10, options), UserError);
  options.top_p = 1;
  options.temperature = -1;
  EXPECT_THROW(Sampler(kernels_of(Isa::portable, false), 10, options), UserError);
}

}  // namespace
}  // namespace setrl::rollout
