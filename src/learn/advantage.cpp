#include "learn/advantage.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "learn/subset_advantage.h"

namespace setrl::learn {

std::vector<double> advantages(const std::string& kind, const std::vector<double>& rewards, int k) {
  constexpr double kEpsilon = 1e-6;
  std::vector<double> result(rewards.size(), 0.0);
  if (rewards.empty()) return result;
  // Equal rewards carry no signal; without this the mean's rounding would give them one.
  const auto [least, most] = std::minmax_element(rewards.begin(), rewards.end());
  const bool equal = *least == *most;
  if (kind == "pass_at_k") return equal ? result : best_of_k_left_out(rewards, k);
  if (kind == "pkpo") return equal ? result : best_of_k_minus_one(rewards, k);
  const auto count = static_cast<double>(rewards.size());
  const double mean = std::accumulate(rewards.begin(), rewards.end(), 0.0) / count;
  double scale = 1;
  if (kind == "mean_std") {
    double variance = 0;
    for (const double reward : rewards) variance += (reward - mean) * (reward - mean);
    scale = 1 / (std::sqrt(variance / count) + kEpsilon);
  } else if (kind == "maxrl") {
    scale = 1 / (mean + kEpsilon);
  } else if (kind != "mean") {
    throw_user_error("learn.advantage: '{}' is not one of mean, mean_std, maxrl, pass_at_k, pkpo", kind);
  }
  if (equal) return result;
  for (std::size_t i = 0; i < rewards.size(); ++i) result[i] = (rewards[i] - mean) * scale;
  return result;
}

Prepared prepare(const LearnSection& config, const Group& group) {
  SETRL_CHECK(group.verdicts.size() == group.completions.size(), "group {} of step {} is not verified", group.index,
              group.step);
  const auto failed = [&](std::size_t i) { return group.verdicts[i].outcome == Outcome::infrastructure_failure; };
  std::vector<double> rewards;
  for (std::size_t i = 0; i < group.verdicts.size(); ++i) {
    if (!failed(i)) rewards.push_back(group.verdicts[i].total);
  }
  const auto values = advantages(config.advantage, rewards, config.advantage_k);

  Prepared result;
  result.group.index = group.index;
  result.group.prompt = group.prompt.tokens;
  std::size_t next = 0;
  for (std::size_t i = 0; i < group.completions.size(); ++i) {
    const auto& completion = group.completions[i];
    TrainingSequence sequence;
    sequence.tokens = completion.tokens;
    sequence.rollout_logprobs = completion.logprobs;
    sequence.forced = completion.forced;
    sequence.masked = failed(i) || (config.mask_truncated && completion.finish == FinishReason::length);
    if (!failed(i)) sequence.advantage = values[next++];
    if (!sequence.masked && sequence.advantage != 0) result.signal = true;
    result.group.sequences.push_back(std::move(sequence));
  }
  return result;
}

std::vector<int> balance(const std::vector<std::int64_t>& token_counts, int ranks) {
  std::vector<std::size_t> order(token_counts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return token_counts[a] > token_counts[b]; });
  std::vector<std::int64_t> load(static_cast<std::size_t>(ranks), 0);
  std::vector<int> result(token_counts.size(), 0);
  for (const std::size_t item : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += token_counts[item];
    result[item] = static_cast<int>(least - load.begin());
  }
  return result;
}

}  // namespace setrl::learn
