#include "evaluate/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

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

namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

// Calls visit(multiplicity) for each resample of the problems.
template <typename Visit>
void resample(std::size_t problems, int resamples, std::uint64_t seed, const Visit& visit) {
  RandomStream random(seed, stable_hash("evaluate.bootstrap"));
  std::vector<std::uint32_t> multiplicity(problems);
  for (int r = 0; r < resamples && problems > 0; ++r) {
    std::fill(multiplicity.begin(), multiplicity.end(), 0);
    for (std::size_t i = 0; i < problems; ++i) ++multiplicity[random.below(problems)];
    visit(multiplicity);
  }
}

// The percentile interval of the defined values of `sample`, which is used up.
Interval interval_of(double value, std::vector<double>&& sample) {
  Interval interval{value, kUndefined, kUndefined};
  if (sample.empty() || std::isnan(value)) return interval;
  std::sort(sample.begin(), sample.end());
  interval.low = quantile(sample, 0.025);
  interval.high = quantile(sample, 0.975);
  return interval;
}

}  // namespace

std::map<std::string, Interval> metrics_with_intervals(const std::vector<Group>& groups, int k, int resamples,
                                                       std::uint64_t seed) {
  const ProblemSums sums(groups, k);
  std::map<std::string, std::vector<double>> samples;
  resample(sums.problems(), resamples, seed, [&](const std::vector<std::uint32_t>& multiplicity) {
    for (const auto& [name, value] : sums.metrics(multiplicity)) {
      if (!std::isnan(value)) samples[name].push_back(value);
    }
  });
  std::map<std::string, Interval> result;
  for (const auto& [name, value] : sums.metrics(std::vector<std::uint32_t>(sums.problems(), 1))) {
    result[name] = interval_of(value, std::move(samples[name]));
  }
  return result;
}

std::vector<CurvePoint> curve_with_intervals(const std::vector<Group>& groups, int k, int resamples,
                                             std::uint64_t seed) {
  const ProblemSums sums(groups, k);
  const auto values = sums.curve(std::vector<std::uint32_t>(sums.problems(), 1));
  std::vector<std::vector<double>> coverage(values.size()), solved(values.size()), answers(values.size());
  resample(sums.problems(), resamples, seed, [&](const std::vector<std::uint32_t>& multiplicity) {
    const auto points = sums.curve(multiplicity);
    for (std::size_t i = 0; i < points.size(); ++i) {
      coverage[i].push_back(points[i].coverage);
      solved[i].push_back(points[i].solved);
      answers[i].push_back(points[i].unique_answers);
    }
  });
  std::vector<CurvePoint> result;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const CurveValues& at = values[i];
    result.push_back({at.completions, at.completions * k, at.tokens, interval_of(at.coverage, std::move(coverage[i])),
                      interval_of(at.solved, std::move(solved[i])),
                      interval_of(at.unique_answers, std::move(answers[i]))});
  }
  return result;
}

void fill_report(Report& report, int resamples, std::uint64_t seed) {
  report.metrics = metrics_with_intervals(report.groups, report.k, resamples, seed);
  report.curve = curve_with_intervals(report.groups, report.k, resamples, seed);
}

}  // namespace setrl::evaluate
