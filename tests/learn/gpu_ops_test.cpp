// The GPU's kernels, run by a stand-in on the host, against the CPU's.
#include "learn/gpu_ops.h"

#include <cmath>

#include "learn/gpu_kernels.h"
#include "learn/gpu_test_tools.h"

namespace setrl::learn {
namespace {

using testing::OnStandin;

class GpuOps : public OnStandin {
 protected:
  // Rows and widths that fill no warp, block or pack, and some that do; unaligned memory.
  template <typename Body>
  void for_each_shape(const Body& body) {
    for (const std::int64_t rows : {0, 1, 5, 70}) {
      for (const std::int64_t width : {6, 34, 64, 1030, 1032}) {
        for (const std::int64_t skew : {0, 1}) {
          SCOPED_TRACE(fmt::format("{} rows, width {}, skew {}", rows, width, skew));
          body(rows, width, skew);
        }
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Standin, GpuOps, testing::all_standins(), testing::name_of);

TEST_P(GpuOps, RmsNorm) {
  for_each_shape([&](std::int64_t rows, std::int64_t width, std::int64_t skew) {
    const at::Tensor x = normals({rows, width}, skew), weight = normals({width}), dy = normals({rows, width}, skew);
    const Normed ours = gpu::rms_norm(x, weight, 1e-5), theirs = rms_norm(x, weight, 1e-5);
    expect_close(ours.out, theirs.out, "out");
    expect_close(ours.rstd, theirs.rstd, "rstd");
    for (const bool with_residual : {false, true}) {
      const at::Tensor residual = with_residual ? normals({rows, width}) : at::Tensor();
      const at::Tensor sum = at::ones({width}), wanted = at::ones({width});
      const at::Tensor dx = gpu::rms_norm_backward(x, weight, theirs.rstd, dy, residual, sum);
      expect_close(dx, rms_norm_backward(x, weight, theirs.rstd, dy, residual, wanted), "dx");
      expect_close(sum, wanted, "weight gradient");
      EXPECT_TRUE(at::equal(dx, gpu::rms_norm_backward(x, weight, theirs.rstd, dy, residual, {}))) << "frozen weight";
    }
  });
}

TEST_P(GpuOps, HeadNorm) {
  constexpr std::int64_t kHeads = 3;
  for (const std::int64_t size : {6, 64, 72}) {
    for (const std::int64_t begin : {std::int64_t{0}, size}) {
      const std::int64_t rows = 45, width = size * 5;
      const at::Tensor raw = normals({rows, width}), weight = normals({size}), dy = normals({rows, width});
      at::Tensor x = raw.clone(), y = raw.clone();
      const at::Tensor rstd = gpu::head_norm_(x, begin, kHeads, weight, 1e-6);
      expect_close(rstd, head_norm_(y, begin, kHeads, weight, 1e-6), "rstd");
      expect_close(x, y, "out");
      const at::Tensor dx = dy.clone(), d_wanted = dy.clone(), sum = at::zeros({size}), wanted = at::zeros({size});
      gpu::head_norm_backward_(raw, begin, kHeads, weight, rstd, dx, sum);
      head_norm_backward_(raw, begin, kHeads, weight, rstd, d_wanted, wanted);
      expect_close(dx, d_wanted, "dx");
      expect_close(sum, wanted, "weight gradient");
      EXPECT_TRUE(at::equal(dx.narrow(1, begin + kHeads * size, width - begin - kHeads * size),
                            dy.narrow(1, begin + kHeads * size, width - begin - kHeads * size)))
          << "other columns stay";
    }
  }
}

TEST_P(GpuOps, Rope) {
  for (const std::int64_t size : {6, 32, 64}) {
    const at::Tensor angles = at::randn({11, size / 2});
    const at::Tensor both = at::cat({angles, angles}, 1);
    const model::Rope rope{both.cos(), both.sin()};
    const at::Tensor x = normals({11, size * 3}, size == 64 ? 1 : 0);
    for (const float direction : {1.0f, -1.0f}) {
      const at::Tensor turned = x.clone(), wanted = x.clone();
      gpu::rope_(turned, rope, 2, size, direction);
      rope_(wanted, rope, 2, size, direction);
      expect_close(turned, wanted, "rope");
    }
  }
}

TEST_P(GpuOps, Swiglu) {
  for_each_shape([&](std::int64_t rows, std::int64_t width, std::int64_t skew) {
    const at::Tensor gate_up = normals({rows, width}, skew), d_out = normals({rows, width / 2});
    expect_close(gpu::swiglu(gate_up), swiglu(gate_up), "out");
    const at::Tensor ours = gate_up.clone(), theirs = gate_up.clone();
    expect_close(gpu::swiglu_backward_(ours, d_out), swiglu_backward_(theirs, d_out), "out again");
    expect_close(ours, theirs, "gradient");
  });
}

TEST_P(GpuOps, SoftmaxOverTheVocabulary) {
  for (const std::int64_t rows : {0, 1, 4}) {
    for (const std::int64_t vocabulary : {17, 1003, 8200}) {
      SCOPED_TRACE(fmt::format("{} rows, vocabulary {}", rows, vocabulary));
      const at::Tensor logits = normals({rows, vocabulary}).mul_(4);
      std::vector<std::int32_t> targets;
      std::vector<float> gradients;
      for (std::int64_t row = 0; row < rows; ++row) {
        targets.push_back(static_cast<std::int32_t>((row * 7919 + vocabulary - 1) % vocabulary));
        gradients.push_back(static_cast<float>(row) - 1.5f);
      }
      std::vector<RowStats> ours(targets.size()), theirs(targets.size());
      gpu::softmax_stats(logits, targets.data(), 0.7, ours.data());
      softmax_stats(logits, targets.data(), 0.7, theirs.data());
      for (std::size_t row = 0; row < ours.size(); ++row) {
        EXPECT_NEAR(ours[row].logprob, theirs[row].logprob, 1e-5 * (1 + std::abs(theirs[row].logprob)));
        EXPECT_NEAR(ours[row].entropy, theirs[row].entropy, 1e-5 * (1 + std::abs(theirs[row].entropy)));
        EXPECT_NEAR(ours[row].lse, theirs[row].lse, 1e-5 * (1 + std::abs(theirs[row].lse)));
      }
      const at::Tensor d_ours = logits.clone(), d_theirs = logits.clone();
      gpu::softmax_gradient_(d_ours, targets.data(), 0.7, theirs.data(), gradients.data());
      softmax_gradient_(d_theirs, targets.data(), 0.7, theirs.data(), gradients.data());
      expect_close(d_ours, d_theirs, "gradient");
    }
  }
}

TEST_P(GpuOps, SoftmaxOfExtremesAndOfNotANumber) {
  at::Tensor logits = at::zeros({2, 300}, dtype());
  logits[0][0] = 3e4;
  logits[0][299] = -3e4;
  logits[1][77] = std::nan("");
  const std::int32_t targets[2] = {0, 0};
  RowStats stats[2];
  gpu::softmax_stats(logits, targets, 1, stats);
  EXPECT_NEAR(stats[0].logprob, 0, 1e-6);
  EXPECT_NEAR(stats[0].entropy, 0, 1e-6);
  EXPECT_TRUE(std::isnan(stats[1].logprob));
}

TEST_P(GpuOps, FlatArrays) {
  for (const std::int64_t count : {0, 1, 7, 1024, 1029}) {
    for (const std::int64_t skew : {0, 1}) {
      const at::Tensor x = normals({count}, skew), floats = at::randn({count});
      at::Tensor ours = floats.clone(), theirs = floats.clone();
      gpu::add_to_float(x, ours);
      add_to_float(x, theirs);
      EXPECT_TRUE(at::equal(ours, theirs));
      at::Tensor rounded = at::empty_like(x), wanted = at::empty_like(x);
      gpu::from_float(floats, rounded);
      from_float(floats, wanted);
      EXPECT_TRUE(at::equal(rounded, wanted));
    }
  }
}

TEST_P(GpuOps, SumsOfColumnsAndRows) {
  for_each_shape([&](std::int64_t rows, std::int64_t width, std::int64_t skew) {
    const at::Tensor x = normals({rows, width}, skew);
    const at::Tensor sum = at::ones({width}), wanted = at::ones({width});
    gpu::column_sum(x, sum);
    column_sum(x, wanted);
    expect_close(sum, wanted, "columns");
    const at::Tensor ids = at::randint(0, 9, {rows}, at::kLong);
    const at::Tensor table = at::ones({9, width}), wanted_table = at::ones({9, width});
    gpu::add_rows(x, ids, table);
    add_rows(x, ids, wanted_table);
    EXPECT_TRUE(at::equal(table, wanted_table)) << "rows are added in the same order";
  });
}

TEST_P(GpuOps, Optimizer) {
  AdamwStep step{};
  step.learning_rate = 1e-2f;
  step.beta1 = 0.9f;
  step.beta2 = 0.99f;
  step.epsilon = 1e-8f;
  step.weight_decay = 0.1f;
  step.correction1 = 0.19f;
  step.correction2 = 0.0199f;
  step.gradient_scale = 0.5f;
  for (const std::int64_t count : {0, 1, 1027}) {
    for (const std::int64_t skew : {0, 1}) {
      const auto make = [&] { return at::randn({count + skew}).narrow(0, skew, count); };
      const at::Tensor w = make(), m = make(), v = make().abs(), g = make();
      const at::Tensor w2 = w.clone(), m2 = m.clone(), v2 = v.clone();
      gpu::adamw(w, m, v, g, step);
      adamw(w2, m2, v2, g, step);
      for (const auto& [ours, theirs] : {std::pair(w, w2), std::pair(m, m2), std::pair(v, v2)}) {
        EXPECT_TRUE(at::allclose(ours, theirs, 1e-6, 1e-7));
      }
    }
  }
  const at::Tensor x = at::randn({2 * 65536 + 17});
  EXPECT_NEAR(gpu::sum_of_squares(x) / sum_of_squares(x), 1, 1e-12);
  EXPECT_EQ(gpu::sum_of_squares(at::empty({0})), 0);
}

TEST(GpuKernels, ReductionsHaveABoundedNumberOfParts) {
  EXPECT_EQ(gpu::reduction_parts(0), 0);
  EXPECT_EQ(gpu::reduction_parts(33), 2);
  for (const std::int64_t rows : {16384, 16385, 1000000}) {
    EXPECT_LE(gpu::reduction_parts(rows), 512);
    EXPECT_GE(gpu::reduction_parts(rows), 256);
  }
}

}  // namespace
}  // namespace setrl::learn
