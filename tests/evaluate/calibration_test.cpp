#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "evaluate/metrics.h"

namespace setrl::evaluate {
namespace {

TEST(PassAtK, IsTheShareOfSubsetsThatHoldARightOne) {
  for (int n = 1; n <= 8; ++n) {
    for (int c = 0; c <= n; ++c) {
      for (int k = 1; k <= n; ++k) {
        int subsets = 0, hits = 0;
        for (int mask = 0; mask < (1 << n); ++mask) {
          if (__builtin_popcount(static_cast<unsigned>(mask)) != k) continue;
          ++subsets;
          hits += (mask & ((1 << c) - 1)) != 0;  // samples 0 .. c-1 are right
        }
        EXPECT_NEAR(pass_at_k(n, c, k), static_cast<double>(hits) / subsets, 1e-12) << n << " " << c << " " << k;
      }
    }
  }
}

TEST(PassAtK, RefusesImpossibleCounts) {
  EXPECT_THROW(pass_at_k(3, 4, 1), BugError);
  EXPECT_THROW(pass_at_k(3, 1, 4), BugError);
  EXPECT_THROW(pass_at_k(3, 1, 0), BugError);
}

TEST(Reliability, BinsAreHalfOpenAndTheLastHoldsOne) {
  const auto bins = reliability({0, 0.1, 0.3, 0.95, 1}, {0, 1, 0, 1, 1}, 10);
  ASSERT_EQ(bins.size(), 10u);
  EXPECT_EQ(bins[0].count, 1);
  EXPECT_EQ(bins[1].count, 1);
  EXPECT_EQ(bins[2].count, 0);
  EXPECT_EQ(bins[2].accuracy, 0);
  EXPECT_EQ(bins[3].count, 1);
  EXPECT_EQ(bins[9].count, 2);
  EXPECT_DOUBLE_EQ(bins[9].mean_confidence, 0.975);
  EXPECT_DOUBLE_EQ(bins[9].accuracy, 1);
  EXPECT_DOUBLE_EQ(bins[9].low, 0.9);
  EXPECT_DOUBLE_EQ(bins[9].high, 1);
}

TEST(CalibrationError, KnownValues) {
  EXPECT_NEAR(expected_calibration_error({0.8, 0.8, 0.8, 0.8, 0.8}, {1, 1, 1, 1, 0}, 10), 0, 1e-12);
  EXPECT_NEAR(expected_calibration_error({1, 1, 0, 0}, {0, 0, 1, 1}, 10), 1, 1e-12);
  EXPECT_NEAR(expected_calibration_error({0.9, 0.9, 0.2}, {1, 0, 0}, 10), (2 * 0.4 + 0.2) / 3, 1e-12);
  EXPECT_TRUE(std::isnan(expected_calibration_error({}, {}, 10)));
}

TEST(Auroc, KnownValues) {
  EXPECT_EQ(auroc({0.1, 0.2, 0.8, 0.9}, {0, 0, 1, 1}), 1);
  EXPECT_EQ(auroc({0.1, 0.2, 0.8, 0.9}, {1, 1, 0, 0}), 0);
  EXPECT_EQ(auroc({0.5, 0.5, 0.5}, {1, 0, 1}), 0.5);
  EXPECT_EQ(auroc({0.5, 0.5, 0.9}, {1, 0, 1}), 0.75);
  EXPECT_TRUE(std::isnan(auroc({0.5, 0.6}, {1, 1})));
  EXPECT_TRUE(std::isnan(auroc({}, {})));
}

TEST(Auroc, IsInvariantUnderIncreasingMaps) {
  RandomStream random(9, 0);
  std::vector<double> confidences(200), mapped(200);
  std::vector<std::uint8_t> correct(200);
  for (std::size_t i = 0; i < confidences.size(); ++i) {
    confidences[i] = static_cast<double>(random.below(40)) / 40;
    mapped[i] = confidences[i] * confidences[i];
    correct[i] = random.uniform() < confidences[i];
  }
  const double area = auroc(confidences, correct);
  EXPECT_GT(area, 0.6);
  EXPECT_DOUBLE_EQ(auroc(mapped, correct), area);
}

}  // namespace
}  // namespace setrl::evaluate
