#include "evaluate/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "evaluate/problem_sums.h"

namespace setrl::evaluate {

namespace {

// The q-quantile by linear interpolation between order statistics (numpy's default). `values` is sorted and not empty.
double quantile(const std::vector<double>& values, double q) {
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace

std::map<std::string, double> metrics(const std::vector<Group>& groups, int k) {
  const ProblemSums sums(groups, k);
  return sums.metrics(std::vector<std::uint32_t>(sums.problems(), 1));
}

std::map<std::string, Interval> metrics_with_intervals(const std::vector<Group>& groups, int k, int resamples,
                                                       std::uint64_t seed) {
  const ProblemSums sums(groups, k);
  const std::size_t problems = sums.problems();
  std::map<std::string, std::vector<double>> samples;
  RandomStream random(seed, stable_hash("evaluate.bootstrap"));
  std::vector<std::uint32_t> multiplicity(problems);
  for (int r = 0; r < resamples && problems > 0; ++r) {
    std::fill(multiplicity.begin(), multiplicity.end(), 0);
    for (std::size_t i = 0; i < problems; ++i) ++multiplicity[random.below(problems)];
    for (const auto& [name, value] : sums.metrics(multiplicity)) {
      if (!std::isnan(value)) samples[name].push_back(value);
    }
  }
  constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();
  std::map<std::string, Interval> result;
  for (const auto& [name, value] : sums.metrics(std::vector<std::uint32_t>(problems, 1))) {
    Interval interval{value, kUndefined, kUndefined};
    auto& sample = samples[name];
    if (!sample.empty() && !std::isnan(value)) {
      std::sort(sample.begin(), sample.end());
      interval.low = quantile(sample, 0.025);
      interval.high = quantile(sample, 0.975);
    }
    result[name] = interval;
  }
  return result;
}

}  // namespace setrl::evaluate
