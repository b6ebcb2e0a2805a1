// Every instruction set this CPU has, against double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <vector>

#include "rollout/isa.h"
#include "rollout/packed_matrix.h"

namespace setrl::rollout {
namespace {

struct Case {
  Isa isa;
  bool bf16;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const bool bf16 : {false, true}) {
    for (const Isa isa : available_isas(bf16)) all.push_back({isa, bf16});
  }
  return all;
}

at::Tensor rounded(const at::Tensor& x, bool bf16) {
  return bf16 ? x.to(at::kBFloat16).to(at::kFloat) : x;
}

// x [M, K] as act rows `stride` bytes apart.
MemoryBlock act_rows(const Kernels& kernels, const at::Tensor& x, std::int64_t stride) {
  MemoryBlock block(x.size(0) * stride + 64);
  for (std::int64_t m = 0; m < x.size(0); ++m) {
    kernels.to_act(x.const_data_ptr<float>() + m * x.size(1), 1.0f, x.size(1), block.data() + m * stride);
  }
  return block;
}

class KernelsTest : public testing::TestWithParam<Case> {
 protected:
  ~KernelsTest() override { kernels_.release(); }
  const Kernels& kernels_ = kernels_of(GetParam().isa, GetParam().bf16);
};

TEST_P(KernelsTest, TileEqualsDoublePrecisionProductForOddShapes) {
  const bool bf16 = GetParam().bf16;
  at::manual_seed(1);
  for (const std::int64_t depth : {1, 2, 7, 64, 577}) {
    const std::int64_t columns = 45, rows = kernels_.max_rows;
    const at::Tensor a = rounded(at::randn({rows, depth}), bf16), w = rounded(at::randn({columns, depth}), bf16);
    PackedMatrix packed(columns, depth, bf16);
    packed.set_rows(w, [](std::int64_t row) { return row; });
    const std::int64_t stride = depth * kernels_.act_bytes + 12;
    const MemoryBlock act = act_rows(kernels_, a, stride);
    const at::Tensor expected = at::matmul(a.to(at::kDouble), w.to(at::kDouble).t());
    for (int count = 1; count <= rows; ++count) {
      for (std::int64_t tile = 0; tile < packed.tiles(); ++tile) {
        at::Tensor c = at::full({rows, 40}, 3.0f);
        TileCall call;
        call.a = act.data();
        call.a_stride = stride;
        call.b = packed.tile(tile);
        call.panel_bytes = packed.panel_bytes();
        call.depth = depth;
        call.c = c.mutable_data_ptr<float>();
        call.c_stride = 40;
        call.prefetch = packed.tile(0);
        for (const bool add : {false, true}) {
          call.add = add;
          kernels_.tile(count, call);
          const std::int64_t width = std::min(kTileColumns, columns - tile * kTileColumns);
          const at::Tensor want =
              expected.narrow(0, 0, count).narrow(1, tile * kTileColumns, width) * (add ? 2.0 : 1.0);
          const at::Tensor got = c.narrow(0, 0, count).narrow(1, 0, width).to(at::kDouble);
          EXPECT_LT((want - got).abs().max().item<double>(), 2e-6 * std::sqrt(depth) * 6)
              << kernels_.name << " depth " << depth << " rows " << count << " add " << add;
        }
        EXPECT_EQ(c.narrow(1, 32, 8).eq(3.0f).all().item<bool>(), true) << "wrote behind the tile";
        EXPECT_TRUE(c.narrow(0, count, rows - count).eq(3.0f).all().item<bool>()) << "wrote below";
      }
    }
  }
}

TEST_P(KernelsTest, ResultOfARowDoesNotDependOnTheRowsBesideIt) {
  const bool bf16 = GetParam().bf16;
  at::manual_seed(2);
  const std::int64_t depth = 333, stride = depth * kernels_.act_bytes + 64;
  const at::Tensor a = at::randn({kernels_.max_rows, depth});
  PackedMatrix packed(32, depth, bf16);
  packed.set_rows(at::randn({32, depth}), [](std::int64_t row) { return row; });
  const MemoryBlock act = act_rows(kernels_, a, stride);
  const auto product = [&](std::int64_t first, int count) {
    at::Tensor c = at::zeros({count, 32});
    TileCall call;
    call.a = act.data() + first * stride;
    call.a_stride = stride;
    call.b = packed.tile(0);
    call.panel_bytes = packed.panel_bytes();
    call.depth = depth;
    call.c = c.mutable_data_ptr<float>();
    call.c_stride = 32;
    call.prefetch = packed.tile(0);
    call.reuse_b = count % 2 == 0;
    kernels_.tile(count, call);
    return c;
  };
  const at::Tensor all = product(0, kernels_.max_rows);
  for (std::int64_t first = 0; first < kernels_.max_rows; ++first) {
    for (int count = 1; first + count <= kernels_.max_rows; ++count) {
      EXPECT_TRUE(at::equal(product(first, count), all.narrow(0, first, count))) << first << " + " << count;
    }
  }
}

TEST_P(KernelsTest, ReleasedThreadsAndNewOnesMayUseTiles) {
  at::manual_seed(5);
  const bool bf16 = GetParam().bf16;
  const std::int64_t depth = 96, stride = depth * kernels_.act_bytes;
  PackedMatrix packed(32, depth, bf16);
  packed.set_rows(at::randn({32, depth}), [](std::int64_t row) { return row; });
  const MemoryBlock act = act_rows(kernels_, at::randn({1, depth}), stride);
  const auto product = [&] {
    at::Tensor c = at::zeros({1, 32});
    TileCall call;
    call.a = act.data();
    call.a_stride = stride;
    call.b = packed.tile(0);
    call.panel_bytes = packed.panel_bytes();
    call.depth = depth;
    call.c = c.mutable_data_ptr<float>();
    call.c_stride = 32;
    call.prefetch = packed.tile(0);
    kernels_.tile(1, call);
    kernels_.release();
    return c;
  };
  const at::Tensor first = product();
  // LibTorch's own products may use what a thread's tiles hold.
  at::matmul(at::randn({64, 64}, at::kBFloat16), at::randn({64, 64}, at::kBFloat16));
  EXPECT_TRUE(at::equal(product(), first));
  std::thread([&] { EXPECT_TRUE(at::equal(product(), first)); }).join();
}

TEST_P(KernelsTest, SoftmaxAndExponentialsAreExactToFloat) {
  at::manual_seed(3);
  for (const std::int64_t length : {1, 5, 32, 61, 97}) {
    const std::int64_t padded = round_up(length, 32);
    at::Tensor scores = at::randn({padded}) * 9;
    const at::Tensor exact = at::softmax(scores.narrow(0, 0, length).to(at::kDouble) * 0.5, 0);
    std::vector<char> probs(static_cast<std::size_t>(padded * 4));
    const float sum = kernels_.softmax(scores.mutable_data_ptr<float>(), length, padded, 0.5f, probs.data());
    for (std::int64_t i = 0; i < padded; ++i) {
      const float p = kernels_.act_bytes == 4 ? reinterpret_cast<const float*>(probs.data())[i]
                                              : from_bf16_bits(reinterpret_cast<const std::uint16_t*>(probs.data())[i]);
      const double want = i < length ? exact[i].item<double>() : 0.0;
      EXPECT_NEAR(p / sum, want, (kernels_.act_bytes == 4 ? 5e-6 : 4e-3) * want) << i << " of " << length;
    }
  }
  const at::Tensor logits = at::linspace(-100, 0, 20011);
  std::vector<float> weights(20011);
  const float sum = kernels_.exp_weights(logits.const_data_ptr<float>(), 20011, 0.0f, 1.0f, weights.data());
  double total = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double x = logits.const_data_ptr<float>()[i], want = std::exp(x);
    total += want;
    EXPECT_NEAR(weights[i], x < -87.3 ? 0.0 : want, x < -86.9 ? 1e-37 : 3e-7 * want) << x;
  }
  EXPECT_NEAR(sum, total, 1e-5 * total);
}

TEST_P(KernelsTest, NormsRotationAndGatesEqualTheFormulas) {
  at::manual_seed(4);
  const std::int64_t n = 75;
  const at::Tensor x = at::randn({n}), w = at::randn({n});
  const at::Tensor want = x / at::sqrt((x * x).mean() + 1e-5) * w;
  const double tolerance = kernels_.act_bytes == 4 ? 2e-6 : 8e-3;
  std::vector<char> out(static_cast<std::size_t>(n) * 4);
  const auto at = [&](std::int64_t i) {
    return kernels_.act_bytes == 4 ? reinterpret_cast<const float*>(out.data())[i]
                                   : from_bf16_bits(reinterpret_cast<const std::uint16_t*>(out.data())[i]);
  };
  kernels_.rms_norm(x.const_data_ptr<float>(), w.const_data_ptr<float>(), 1e-5f, n, out.data());
  for (std::int64_t i = 0; i < n; ++i) {
    EXPECT_NEAR(at(i), want[i].item<float>(), tolerance * (0.1 + std::abs(want[i].item<float>())));
  }
  at::Tensor head = x.clone();
  kernels_.norm_head(head.mutable_data_ptr<float>(), w.const_data_ptr<float>(), 1e-5f, n);
  EXPECT_TRUE(at::allclose(head, want, 1e-5, 1e-6));

  at::Tensor pair = at::randn({20});
  const at::Tensor angle = at::randn({10}), cos = angle.cos(), sin = angle.sin();
  const at::Tensor low = pair.narrow(0, 0, 10), high = pair.narrow(0, 10, 10);
  const at::Tensor rotated = at::cat({low * cos - high * sin, high * cos + low * sin});
  kernels_.rotate(pair.mutable_data_ptr<float>(), cos.const_data_ptr<float>(), sin.const_data_ptr<float>(), 10);
  EXPECT_TRUE(at::allclose(pair, rotated, 1e-5, 1e-6));

  const at::Tensor tile = at::randn({2, 32}) * 20;
  kernels_.silu_mul(tile.const_data_ptr<float>(), 2, out.data(), 16 * kernels_.act_bytes);
  const at::Tensor gated = (at::silu(tile.narrow(1, 0, 16)) * tile.narrow(1, 16, 16)).flatten();
  for (std::int64_t i = 0; i < 32; ++i) {
    EXPECT_NEAR(at(i), gated[i].item<float>(), tolerance * (1e-3 + std::abs(gated[i].item<float>())));
  }
}

TEST_P(KernelsTest, LargestLogitReportsWhatIsNotFinite) {
  for (const std::int64_t n : {1, 17, 211}) {
    at::Tensor logits = at::randn({n});
    float max = 0;
    EXPECT_TRUE(kernels_.max_logit(logits.const_data_ptr<float>(), n, &max));
    EXPECT_EQ(max, logits.max().item<float>());
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
      at::Tensor broken = logits.clone();
      broken[n - 1] = bad;
      EXPECT_FALSE(kernels_.max_logit(broken.const_data_ptr<float>(), n, &max)) << bad;
    }
  }
}

TEST_P(KernelsTest, PackedRowsComeBack) {
  const bool bf16 = GetParam().bf16;
  const at::Tensor w = rounded(at::randn({37, 13}), bf16);
  PackedMatrix packed(40, 13, bf16);
  packed.set_rows(w, [](std::int64_t row) { return row + 3; });
  std::vector<float> row(13);
  for (std::int64_t i = 0; i < 37; ++i) {
    packed.get_row(i + 3, row.data());
    EXPECT_TRUE(at::equal(at::tensor(row), w[i]));
  }
}

std::string case_name(const testing::TestParamInfo<Case>& test) {
  static const char* const isa_names[] = {"portable", "avx2", "avx512", "avx512_bf16", "amx_bf16"};
  return std::string(isa_names[static_cast<int>(test.param.isa)]) + (test.param.bf16 ? "_bfloat16" : "_float32");
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, KernelsTest, testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace setrl::rollout
