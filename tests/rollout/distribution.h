// The exact next-token distribution of sampling options, and a test of counts against it.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "rollout/engine.h"

namespace setrl::rollout::test {

// Independent of the sampler: sort, cut, renormalise, all in double.
inline std::vector<double> exact(const std::vector<float>& logits, const SamplingOptions& options) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
  std::vector<double> p(logits.size());
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = std::exp((logits[i] - logits[order[0]]) / options.temperature);
  if (options.top_k > 0) {
    for (std::size_t i = static_cast<std::size_t>(options.top_k); i < order.size(); ++i) p[order[i]] = 0;
  }
  const double mass = std::accumulate(p.begin(), p.end(), 0.0);
  double before = 0;
  for (const auto id : order) {
    const double own = p[id];
    if (before >= options.top_p * mass && options.top_p < 1) p[id] = 0;
    if (own < options.min_p) p[id] = 0;
    before += own;
  }
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (auto& x : p) x /= sum;
  return p;
}

// Chi-square statistic over bins of expected count >= 8 (the rest pooled), as a normal deviate (Wilson-Hilferty).
inline double chi_square_deviate(const std::vector<double>& p, const std::vector<int>& counts) {
  const int draws = std::accumulate(counts.begin(), counts.end(), 0);
  double statistic = 0, rest_expected = 0, rest_count = 0;
  int bins = 0;
  const auto add = [&](double expected, double count) {
    statistic += (count - expected) * (count - expected) / expected;
    ++bins;
  };
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] * draws >= 8) {
      add(p[i] * draws, counts[i]);
    } else {
      rest_expected += p[i] * draws;
      rest_count += counts[i];
    }
  }
  if (rest_expected >= 1) add(rest_expected, rest_count);
  const double k = std::max(bins - 1, 1), ninth = 2.0 / (9.0 * k);
  return bins < 2 ? 0 : (std::cbrt(statistic / k) - (1 - ninth)) / std::sqrt(ninth);
}

}  // namespace setrl::rollout::test
