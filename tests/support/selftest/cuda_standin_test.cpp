#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "cuda_kernels.h"

namespace setrl::selftest {
namespace {

class Standin : public ::testing::TestWithParam<cuda_standin::Order> {
 protected:
  void SetUp() override { cuda_standin::set_order(GetParam()); }
  void TearDown() override { cuda_standin::set_order(cuda_standin::Order::forward); }
};

TEST_P(Standin, SumsOverWarpsAndBlocks) {
  for (const int threads : {32, 96, 256}) {
    std::vector<float> x(5 * 301), out(5);
    std::iota(x.begin(), x.end(), -700.0f);
    row_sums(x.data(), 5, 301, threads, out.data());
    for (int block = 0; block < 5; ++block) {
      const auto begin = x.begin() + block * 301;
      EXPECT_EQ(out[static_cast<std::size_t>(block)], std::accumulate(begin, begin + 301, 0.0f));
    }
  }
}

TEST_P(Standin, ReportsAMissingBarrierAsAWrongResult) {
  std::vector<float> x(256), out(256);
  std::iota(x.begin(), x.end(), 0.0f);
  const std::vector<float> wanted(x.rbegin(), x.rend());
  reverse(x.data(), 256, true, out.data());
  EXPECT_EQ(out, wanted);
  reverse(x.data(), 256, false, out.data());
  EXPECT_NE(out, wanted);
}

TEST_P(Standin, ReportsThreadsThatWaitForOthersThatNeverCome) {
  EXPECT_THROW(diverge(), std::logic_error);
}

TEST_P(Standin, RoundsToTheNearestEven) {
  const std::vector<float> x = {1.0f, 1.00390625f, 1.01171875f, -3.1415927f, 3.4e38f, 0.0f};
  const std::vector<float> wanted = {1.0f, 1.0f, 1.015625f, -3.140625f, std::numeric_limits<float>::infinity(), 0.0f};
  std::vector<float> out(x.size());
  round_trip(x.data(), static_cast<int>(x.size()), out.data());
  EXPECT_EQ(out, wanted);
}

INSTANTIATE_TEST_SUITE_P(Orders, Standin,
                         ::testing::Values(cuda_standin::Order::forward, cuda_standin::Order::backward));

}  // namespace
}  // namespace setrl::selftest
