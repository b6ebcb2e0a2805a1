#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "evaluate/metrics.h"

namespace setrl::evaluate {

double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k) {
  SETRL_CHECK(0 <= c && c <= n && 1 <= k && k <= n, "pass@{} of {} samples with {} right", k, n, c);
  if (n - c < k) return 1;
  double none = 1;  // C(n-c,k)/C(n,k) = product over i in (n-c, n] of (1 - k/i)
  for (std::int64_t i = n - c + 1; i <= n; ++i) none *= 1 - static_cast<double>(k) / static_cast<double>(i);
  return 1 - none;
}

std::vector<ReliabilityBin> reliability(const std::vector<double>& confidences,
                                        const std::vector<std::uint8_t>& correct, int bins) {
  SETRL_CHECK(confidences.size() == correct.size() && bins > 0, "{} confidences, {} flags, {} bins", confidences.size(),
              correct.size(), bins);
  std::vector<ReliabilityBin> result(static_cast<std::size_t>(bins));
  for (int i = 0; i < bins; ++i) {
    result[static_cast<std::size_t>(i)].low = static_cast<double>(i) / bins;
    result[static_cast<std::size_t>(i)].high = static_cast<double>(i + 1) / bins;
  }
  for (std::size_t i = 0; i < confidences.size(); ++i) {
    SETRL_CHECK(confidences[i] >= 0 && confidences[i] <= 1, "confidence {}", confidences[i]);
    const int index = std::min(static_cast<int>(confidences[i] * bins), bins - 1);
    auto& bin = result[static_cast<std::size_t>(index)];
    ++bin.count;
    bin.mean_confidence += confidences[i];
    bin.accuracy += correct[i] != 0 ? 1 : 0;
  }
  for (auto& bin : result) {
    if (bin.count == 0) continue;
    bin.mean_confidence /= static_cast<double>(bin.count);
    bin.accuracy /= static_cast<double>(bin.count);
  }
  return result;
}

double expected_calibration_error(const std::vector<double>& confidences, const std::vector<std::uint8_t>& correct,
                                  int bins) {
  if (confidences.empty()) return std::numeric_limits<double>::quiet_NaN();
  double error = 0;
  for (const auto& bin : reliability(confidences, correct, bins)) {
    error += static_cast<double>(bin.count) * std::abs(bin.accuracy - bin.mean_confidence);
  }
  return error / static_cast<double>(confidences.size());
}

// The probability that a right answer has more confidence than a wrong one (Mann-Whitney), by one pass over the sorted
// values.
double auroc(const std::vector<double>& confidences, const std::vector<std::uint8_t>& correct) {
  SETRL_CHECK(confidences.size() == correct.size(), "{} confidences, {} flags", confidences.size(), correct.size());
  std::vector<std::size_t> order(confidences.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return confidences[a] < confidences[b]; });
  double positives = 0, negatives = 0, wins = 0;
  for (std::size_t i = 0; i < order.size();) {
    double tied_positives = 0, tied_negatives = 0;
    const double value = confidences[order[i]];
    for (; i < order.size() && confidences[order[i]] == value; ++i) {
      (correct[order[i]] != 0 ? tied_positives : tied_negatives) += 1;
    }
    wins += tied_positives * (negatives + tied_negatives / 2);
    positives += tied_positives;
    negatives += tied_negatives;
  }
  if (positives == 0 || negatives == 0) return std::numeric_limits<double>::quiet_NaN();
  return wins / (positives * negatives);
}

}  // namespace setrl::evaluate
