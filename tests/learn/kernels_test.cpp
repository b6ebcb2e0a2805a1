// Every instruction set that this CPU has against double precision.
#include "learn/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "base/random.h"
#include "base/system.h"

namespace setrl::learn {

Kernels kernels_base();
Kernels kernels_avx2();
Kernels kernels_avx512();

namespace {

class InstructionSet : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = GetParam();
    if ((name == "avx2" && !cpu_has_avx2()) || (name == "avx512" && !cpu_has_avx512())) {
      GTEST_SKIP() << "this CPU has no " << name;
    }
    set_ = name == "base" ? kernels_base() : name == "avx2" ? kernels_avx2() : kernels_avx512();
  }
  Kernels set_;
};
INSTANTIATE_TEST_SUITE_P(Sets, InstructionSet, ::testing::Values("base", "avx2", "avx512"),
                         [](const auto& param) { return std::string(param.param); });

std::vector<float> normals(std::size_t count, double scale) {
  RandomStream random(1, count);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(scale * random.normal());
  return values;
}

TEST_P(InstructionSet, SoftmaxStatsAndGradient) {
  constexpr std::int64_t kVocabulary = 1003, kTarget = 17;
  auto logits = normals(kVocabulary, 4);
  const float inverse = 1 / 0.7f;
  long double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<long double>(value) * inverse);
  double entropy = 0;
  std::vector<double> probability;
  for (const float value : logits) {
    probability.push_back(static_cast<double>(std::exp(static_cast<long double>(value) * inverse) / sum));
    entropy -= probability.back() * std::log(probability.back());
  }
  const RowStats stats = set_.float32.softmax_stats(logits.data(), kVocabulary, kTarget, inverse);
  EXPECT_NEAR(stats.logprob, std::log(probability[kTarget]), 1e-5);
  EXPECT_NEAR(stats.entropy, entropy, 1e-5);
  EXPECT_NEAR(stats.lse, static_cast<double>(std::log(sum)), 1e-5);
  set_.float32.softmax_gradient(logits.data(), kVocabulary, kTarget, inverse, stats.lse, 2.0f);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    EXPECT_NEAR(logits[i], 2 * inverse * ((i == kTarget) - probability[i]), 1e-6);
  }
}

TEST_P(InstructionSet, SoftmaxOfNotANumberIsNotANumber) {
  std::vector<float> logits = normals(40, 1);
  logits[3] = std::nanf("");
  EXPECT_TRUE(std::isnan(set_.float32.softmax_stats(logits.data(), 40, 5, 1).logprob));
  std::vector<Bfloat16> low(40);
  set_.bfloat16.from_float(logits.data(), 40, low.data());
  EXPECT_TRUE(std::isnan(set_.bfloat16.softmax_stats(low.data(), 40, 5, 1).logprob));
}

TEST_P(InstructionSet, BFloat16RoundsToNearestEven) {
  // Eight significant bits; the second and third value lie half way between two numbers.
  const std::vector<float> values{1.0f, 1.00390625f, 1.01171875f, 1.004f, -3.140625f, 0.0f, -1.0040f};
  const std::vector<float> expected{1.0f, 1.0f, 1.015625f, 1.0078125f, -3.140625f, 0.0f, -1.0078125f};
  std::vector<Bfloat16> low(values.size());
  std::vector<float> back(values.size(), 0.0f);
  set_.bfloat16.from_float(values.data(), static_cast<std::int64_t>(values.size()), low.data());
  set_.bfloat16.add_to_float(low.data(), static_cast<std::int64_t>(low.size()), back.data());
  EXPECT_EQ(back, expected);
}

TEST_P(InstructionSet, SwigluAndItsDerivative) {
  constexpr std::int64_t kInner = 37;
  const auto gate_up = normals(2 * kInner, 3), d_out = normals(kInner, 1);
  std::vector<float> out(kInner), again(kInner), d_gate_up(2 * kInner);
  set_.float32.swiglu(gate_up.data(), 1, kInner, out.data());
  set_.float32.swiglu_backward(gate_up.data(), d_out.data(), 1, kInner, again.data(), d_gate_up.data());
  const auto value = [](double g, double u) { return g / (1 + std::exp(-g)) * u; };
  for (std::size_t i = 0; i < kInner; ++i) {
    const double g = gate_up[i], u = gate_up[kInner + i], h = 1e-6;
    EXPECT_NEAR(out[i], value(g, u), 2e-6 * (1 + std::abs(value(g, u))));
    EXPECT_EQ(out[i], again[i]);
    EXPECT_NEAR(d_gate_up[i], d_out[i] * (value(g + h, u) - value(g - h, u)) / (2 * h), 1e-5);
    EXPECT_NEAR(d_gate_up[kInner + i], d_out[i] * value(g, 1), 1e-5);
  }
}

TEST_P(InstructionSet, MergedAttentionWeighsByTheExponentialSums) {
  constexpr std::int64_t kSize = 24;
  const auto a = normals(kSize, 1), b = normals(kSize + 1, 1);
  const float lse_a = 2.5f, lse_b = 1.25f;
  std::vector<float> out(kSize);
  float lse = 0;
  set_.float32.merge_attention(a.data(), &lse_a, b.data(), &lse_b, 1, kSize, out.data(), &lse);
  const double share = 1 / (1 + std::exp(-1.25));
  EXPECT_NEAR(lse, std::log(std::exp(2.5) + std::exp(1.25)), 1e-6);
  for (std::size_t i = 0; i < kSize; ++i) EXPECT_NEAR(out[i], share * a[i] + (1 - share) * b[i], 1e-6);
}

}  // namespace
}  // namespace setrl::learn
