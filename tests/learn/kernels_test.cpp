// Every instruction set that this CPU has against double precision.
#include "learn/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/random.h"
#include "base/system.h"

namespace setrl::learn {

Kernels kernels_base();
Kernels kernels_avx2();
Kernels kernels_avx512();
Kernels kernels_avx512_bf16();
Kernels kernels_amx_bf16();

namespace {

class InstructionSet : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = GetParam();
    const bool able = name == "avx2"     ? cpu_has_avx2()
                      : name == "avx512" ? cpu_has_avx512()
                      : name == "amx"    ? may_use_amx_bfloat16()
                                         : name == "base" || cpu_has_bfloat16();
    if (!able) GTEST_SKIP() << "this CPU has no " << name;
    set_ = name == "base"     ? kernels_base()
           : name == "avx2"   ? kernels_avx2()
           : name == "avx512" ? kernels_avx512()
           : name == "amx"    ? kernels_amx_bf16()
                              : kernels_avx512_bf16();
  }
  Kernels set_;
};
INSTANTIATE_TEST_SUITE_P(Sets, InstructionSet, ::testing::Values("base", "avx2", "avx512", "avx512_bf16", "amx"),
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

// Attention of one head in double precision.
struct ExactAttention {
  std::vector<double> out, lse, dq, dk, dv;  // rows of keys: shared ones first
};
struct AttentionInput {
  std::int64_t shared, own, size;
  std::vector<float> q, k, v, d_out;  // [own, size]; k, v [shared + own, size]
};

ExactAttention exact_attention(const AttentionInput& in) {
  const auto size = static_cast<std::size_t>(in.size), keys = static_cast<std::size_t>(in.shared + in.own);
  const double scale = 1 / std::sqrt(static_cast<double>(size));
  ExactAttention exact;
  for (auto* gradient : {&exact.dk, &exact.dv}) gradient->assign(keys * size, 0);
  for (std::size_t row = 0; row < static_cast<std::size_t>(in.own); ++row) {
    const std::size_t seen = static_cast<std::size_t>(in.shared) + row + 1;
    std::vector<double> p(seen), out(size, 0), dq(size, 0);
    double sum = 0, delta = 0;
    for (std::size_t key = 0; key < seen; ++key) {
      double score = 0;
      for (std::size_t i = 0; i < size; ++i) score += double{in.q[row * size + i]} * in.k[key * size + i];
      sum += p[key] = std::exp(scale * score);
    }
    for (std::size_t key = 0; key < seen; ++key) {
      p[key] /= sum;
      for (std::size_t i = 0; i < size; ++i) out[i] += p[key] * in.v[key * size + i];
    }
    for (std::size_t i = 0; i < size; ++i) delta += out[i] * in.d_out[row * size + i];
    for (std::size_t key = 0; key < seen; ++key) {
      double dp = 0;
      for (std::size_t i = 0; i < size; ++i) dp += double{in.d_out[row * size + i]} * in.v[key * size + i];
      const double ds = scale * p[key] * (dp - delta);
      for (std::size_t i = 0; i < size; ++i) {
        exact.dv[key * size + i] += p[key] * in.d_out[row * size + i];
        exact.dk[key * size + i] += ds * in.q[row * size + i];
        dq[i] += ds * in.k[key * size + i];
      }
    }
    exact.out.insert(exact.out.end(), out.begin(), out.end());
    exact.dq.insert(exact.dq.end(), dq.begin(), dq.end());
    exact.lse.push_back(std::log(sum));
  }
  return exact;
}

// The largest difference relative to the largest number; where all are small (a single key has no gradient), to 1.
template <typename Values>
double relative_error(const Values& values, const std::vector<double>& exact) {
  double error = 0, largest = 1;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double difference = std::abs(static_cast<double>(values[i]) - exact[i]);
    error = difference <= error ? error : difference;  // a NaN becomes the error
    largest = std::max(largest, std::abs(exact[i]));
  }
  return error / largest;
}

template <typename T>
std::vector<T> narrowed(const KernelTable<T>& table, const std::vector<float>& values) {
  std::vector<T> result(values.size());
  table.from_float(values.data(), static_cast<std::int64_t>(values.size()), result.data());
  return result;
}
template <typename T>
std::vector<float> widened(const KernelTable<T>& table, const std::vector<T>& values) {
  std::vector<float> result(values.size(), 0.0f);
  table.add_to_float(values.data(), static_cast<std::int64_t>(values.size()), result.data());
  return result;
}

template <typename T>
void expect_exact_attention(const KernelTable<T>& table, std::int64_t shared, std::int64_t own, std::int64_t size,
                            double bound) {
  SCOPED_TRACE(std::to_string(shared) + " shared and " + std::to_string(own) + " own keys of " + std::to_string(size));
  const auto count = [&](std::int64_t rows) { return static_cast<std::size_t>(rows * size); };
  // T's numbers, so that only the arithmetic differs from the exact one.
  const auto q = narrowed(table, normals(count(own), 1.5)), d_out = narrowed(table, normals(count(own) + 1, 1));
  const auto k = narrowed(table, normals(count(shared + own) + 2, 1)),
             v = narrowed(table, normals(count(shared + own) + 3, 1));
  const auto exact = exact_attention(
      {shared, own, size, widened(table, q), widened(table, k), widened(table, v), widened(table, d_out)});

  const auto packed = [&](const std::vector<T>& x, std::int64_t begin, std::int64_t rows, bool columns) {
    std::vector<T> out(static_cast<std::size_t>(packed_numbers(rows, size)));
    table.attention.pack(x.data() + begin * size, size, rows, size, columns ? out.data() : nullptr,
                         columns ? nullptr : out.data());
    return out;
  };
  struct Side {
    std::vector<T> k_columns, k_rows, v_columns, v_rows;
    std::vector<float> dk, dv;
  };
  const auto side = [&](std::int64_t begin, std::int64_t rows) {
    const std::vector<float> zeros(static_cast<std::size_t>(packed_numbers(rows, size)), 0.0f);
    return Side{packed(k, begin, rows, true),
                packed(k, begin, rows, false),
                packed(v, begin, rows, true),
                packed(v, begin, rows, false),
                zeros,
                zeros};
  };
  Side first = side(0, shared), second = side(shared, own);
  const auto keys = [](Side& of, std::int64_t rows) {
    return PackedKeys<T>{rows,         of.k_columns.data(), of.k_rows.data(), of.v_columns.data(), of.v_rows.data(),
                         of.dk.data(), of.dv.data()};
  };
  std::vector<T> out(count(own)), dq(count(own));
  std::vector<float> lse(static_cast<std::size_t>(own));
  AttentionQueries<T> queries;
  queries.end = own;
  queries.size = size;
  queries.scale = 1 / std::sqrt(static_cast<float>(size));
  queries.q = q.data();
  queries.out = out.data();
  queries.lse = lse.data();
  queries.q_stride = queries.out_stride = size;
  queries.lse_stride = 1;
  queries.d_out = d_out.data();
  queries.dq = dq.data();
  queries.shared = keys(first, shared);
  queries.own = keys(second, own);
  std::vector<char> memory(static_cast<std::size_t>(attention_scratch_bytes(size)) + 64);
  void* scratch = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64);
  table.attention.forward(queries, scratch);
  table.attention.backward(queries, scratch);

  EXPECT_LT(relative_error(widened(table, out), exact.out), bound);
  EXPECT_LT(relative_error(lse, exact.lse), 1e-5);
  EXPECT_LT(relative_error(widened(table, dq), exact.dq), bound);
  const auto of_keys = [&](const std::vector<float>& of_first, const std::vector<float>& of_second) {
    std::vector<float> all;
    for (std::int64_t row = 0; row < shared + own; ++row) {
      const auto& from = row < shared ? of_first : of_second;
      const auto begin = static_cast<std::size_t>((row < shared ? row : row - shared) * padded_size(size));
      all.insert(all.end(), from.begin() + static_cast<std::ptrdiff_t>(begin),
                 from.begin() + static_cast<std::ptrdiff_t>(begin) + size);
    }
    return all;
  };
  EXPECT_LT(relative_error(of_keys(first.dk, second.dk), exact.dk), bound);
  EXPECT_LT(relative_error(of_keys(first.dv, second.dv), exact.dv), bound);
}

TEST_P(InstructionSet, AttentionAndItsGradient) {
  for (const std::int64_t size : {2, 24, 64, 80}) {
    expect_exact_attention(set_.float32, 70, 151, size, 2e-6);
    expect_exact_attention(set_.bfloat16, 70, 151, size, 2e-2);
  }
  for (const std::int64_t own : {1, 2, 63, 64, 65, 96, 97, 193}) {
    expect_exact_attention(set_.float32, 0, own, 32, 2e-6);
    expect_exact_attention(set_.float32, 129, own, 32, 2e-6);
    expect_exact_attention(set_.bfloat16, 1, own, 32, 2e-2);
    expect_exact_attention(set_.bfloat16, 129, own, 64, 2e-2);
  }
}

}  // namespace
}  // namespace setrl::learn
