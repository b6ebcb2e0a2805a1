#include "learn/subset_advantage.h"

#include <algorithm>
#include <numeric>

namespace setrl::learn {

namespace {

// For `count` values in ascending order: the share of subsets of `k` of them (k >= 1) whose largest is the i-th,
// C(i, k - 1) / C(count, k). From the largest down, so that nothing overflows.
std::vector<double> shares_of_largest(std::size_t count, std::size_t k) {
  std::vector<double> shares(count, 0.0);
  double share = static_cast<double>(k) / static_cast<double>(count);
  for (std::size_t i = count; i-- > k - 1;) {
    shares[i] = share;
    if (i > 0) share *= static_cast<double>(i - (k - 1)) / static_cast<double>(i);
  }
  return shares;
}

// Calls body(i, the other rewards in ascending order) for every completion.
template <typename Body>
void for_each_left_out(const std::vector<double>& rewards, const Body& body) {
  std::vector<std::size_t> order(rewards.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rewards[a] < rewards[b]; });
  std::vector<double> others;
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    others.clear();
    for (const std::size_t at : order) {
      if (at != i) others.push_back(rewards[at]);
    }
    body(i, others);
  }
}

std::size_t usable_k(const std::vector<double>& rewards, int k) {
  return std::min(static_cast<std::size_t>(k), rewards.size() - 1);
}

}  // namespace

std::vector<double> best_of_k_left_out(const std::vector<double>& rewards, int wanted_k) {
  std::vector<double> result(rewards.size(), 0.0);
  if (rewards.size() < 2) return result;
  const std::size_t k = usable_k(rewards, wanted_k), others = rewards.size() - 1;
  const auto without = shares_of_largest(others, k);
  const auto with = k > 1 ? shares_of_largest(others, k - 1) : std::vector<double>();
  for_each_left_out(rewards, [&](std::size_t i, const std::vector<double>& sorted) {
    double sum = k > 1 ? 0 : rewards[i];
    for (std::size_t j = 0; j < others; ++j) {
      if (k > 1) sum += with[j] * std::max(rewards[i], sorted[j]);
      sum -= without[j] * sorted[j];
    }
    result[i] = static_cast<double>(k) * sum;
  });
  return result;
}

std::vector<double> best_of_k_minus_one(const std::vector<double>& rewards, int wanted_k) {
  if (rewards.size() < 3) return best_of_k_left_out(rewards, wanted_k);  // no second one in a subset
  const std::size_t k = usable_k(rewards, wanted_k), others = rewards.size() - 1;
  const auto rest = shares_of_largest(others, k - 1);
  std::vector<double> result(rewards.size(), 0.0);
  for_each_left_out(rewards, [&](std::size_t i, const std::vector<double>& sorted) {
    double sum = 0;
    for (std::size_t j = 0; j < others; ++j) sum += rest[j] * std::max(rewards[i] - sorted[j], 0.0);
    result[i] = static_cast<double>(k) * sum;
  });
  return result;
}

}  // namespace setrl::learn
