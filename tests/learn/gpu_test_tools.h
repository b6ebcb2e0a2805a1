// What the tests of the GPU code on the stand-in share.
#pragma once

#include <ATen/ATen.h>
#include <cuda_standin.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

namespace setrl::learn::testing {

// A dtype, and the order in which the stand-in runs the threads of a block.
class OnStandin : public ::testing::TestWithParam<std::tuple<at::ScalarType, cuda_standin::Order>> {
 protected:
  void SetUp() override {
    at::manual_seed(7);
    cuda_standin::set_order(std::get<1>(GetParam()));
  }
  void TearDown() override { cuda_standin::set_order(cuda_standin::Order::forward); }

  at::ScalarType dtype() const { return std::get<0>(GetParam()); }
  // Normal numbers of the dtype; `skew` elements behind where the allocator begins, so that 1 is not aligned.
  at::Tensor normals(at::IntArrayRef shape, std::int64_t skew = 0) const {
    const std::int64_t count = c10::multiply_integers(shape);
    return at::randn({count + skew}).to(dtype()).narrow(0, skew, count).view(shape);
  }
  // float32 within rounding of a few sums; bfloat16 within one rounding.
  void expect_close(const at::Tensor& value, const at::Tensor& wanted, const std::string& what) const {
    ASSERT_EQ(value.sizes(), wanted.sizes()) << what;
    ASSERT_EQ(value.scalar_type(), wanted.scalar_type()) << what;
    if (value.numel() == 0) return;
    const double relative = wanted.scalar_type() == at::kBFloat16 ? 8e-3 : 1e-5;
    const at::Tensor a = value.to(at::kDouble), b = wanted.to(at::kDouble);
    const double scale = b.abs().max().item<double>();
    EXPECT_TRUE(at::allclose(a, b, relative, relative * 0.1 * scale + 1e-7))
        << what << ": differs by " << (a - b).abs().max().item<double>() << " of " << scale;
  }
};

inline std::string name_of(const ::testing::TestParamInfo<std::tuple<at::ScalarType, cuda_standin::Order>>& info) {
  const bool forward = std::get<1>(info.param) == cuda_standin::Order::forward;
  return std::string(c10::toString(std::get<0>(info.param))) + (forward ? "Forward" : "Backward");
}

inline auto all_standins() {
  return ::testing::Combine(::testing::Values(at::kFloat, at::kBFloat16),
                            ::testing::Values(cuda_standin::Order::forward, cuda_standin::Order::backward));
}

}  // namespace setrl::learn::testing
