#include "rollout/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace setrl::rollout {

namespace {

constexpr std::int64_t kBlock = 1024;
// Bins of the distance to the largest logit, in units of 1/128 of a natural-log unit; the last takes the rest.
constexpr int kBins = 4096;
constexpr float kBinsPerNat = 128.0f;

int bin_of(float logit, float max, float inverse_temperature) {
  const float distance = (max - logit) * inverse_temperature * kBinsPerNat;
  return distance < static_cast<float>(kBins - 1) ? static_cast<int>(distance) : kBins - 1;
}

}  // namespace

Sampler::Sampler(const Kernels& kernels, std::int64_t vocabulary, const SamplingOptions& options)
    : kernels_(kernels),
      vocabulary_(vocabulary),
      temperature_(options.temperature > 0 ? options.temperature : 1.0),
      greedy_(options.temperature == 0),
      inverse_temperature_(static_cast<float>(1.0 / temperature_)),
      top_k_(options.top_k),
      top_p_(options.top_p),
      min_p_(options.min_p) {
  check_sampling(options);
}

void check_sampling(const SamplingOptions& options) {
  if (!(options.temperature >= 0) || !(options.top_p > 0 && options.top_p <= 1) ||
      !(options.min_p >= 0 && options.min_p <= 1) || options.top_k < 0) {
    throw_user_error(
        "sampling options out of range: temperature {} >= 0, top_k {} >= 0, top_p {} in (0, 1], min_p {} "
        "in [0, 1]",
        options.temperature, options.top_k, options.top_p, options.min_p);
  }
}

double Sampler::total_weight(const float* logits, float max) const {
  double total = 0;
  for (std::int64_t begin = 0; begin < vocabulary_; begin += kBlock) {
    total +=
        kernels_.exp_weights(logits + begin, std::min(kBlock, vocabulary_ - begin), max, inverse_temperature_, nullptr);
  }
  return total;
}

float Sampler::logprob(const float* logits, std::int64_t id, float max, double total) const {
  return static_cast<float>((static_cast<double>(logits[id]) - max) / temperature_ - std::log(total));
}

Drawn Sampler::score(const float* logits, std::int32_t id) const {
  float max = 0;
  if (!kernels_.max_logit(logits, vocabulary_, &max)) return {0, 0, false};
  return {id, logprob(logits, id, max, total_weight(logits, max)), true};
}

Sampler::Cut Sampler::find_cut(const float* logits, float max, SamplerScratch& scratch) const {
  scratch.bin_counts.assign(kBins, 0);
  scratch.weights.resize(static_cast<std::size_t>(vocabulary_));
  float* weights = scratch.weights.data();
  for (std::int64_t begin = 0; begin < vocabulary_; begin += kBlock) {
    kernels_.exp_weights(logits + begin, std::min(kBlock, vocabulary_ - begin), max, inverse_temperature_,
                         weights + begin);
  }
  auto& mass = scratch.bin_mass;
  mass.assign(kBins, 0.0);
  for (std::int64_t i = 0; i < vocabulary_; ++i) {
    const auto bin = static_cast<std::size_t>(bin_of(logits[i], max, inverse_temperature_));
    mass[bin] += weights[i];
    ++scratch.bin_counts[bin];
  }
  // The members of a bin in order of rank.
  const auto sorted_members = [&](int bin) -> const std::vector<std::int32_t>& {
    scratch.members.clear();
    for (std::int64_t i = 0; i < vocabulary_; ++i) {
      if (bin_of(logits[i], max, inverse_temperature_) == bin) scratch.members.push_back(static_cast<std::int32_t>(i));
    }
    std::sort(scratch.members.begin(), scratch.members.end(),
              [&](std::int32_t a, std::int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
    return scratch.members;
  };

  Cut cut{-std::numeric_limits<float>::infinity(), std::numeric_limits<std::int32_t>::max()};
  double kept_mass = 0;
  if (top_k_ > 0 && top_k_ < vocabulary_) {
    std::int64_t before = 0;
    int bin = 0;
    for (; before + scratch.bin_counts[static_cast<std::size_t>(bin)] < top_k_; ++bin) {
      before += scratch.bin_counts[static_cast<std::size_t>(bin)];
      kept_mass += mass[static_cast<std::size_t>(bin)];
    }
    const auto& members = sorted_members(bin);
    for (std::int64_t i = 0; i < top_k_ - before; ++i) kept_mass += weights[members[static_cast<std::size_t>(i)]];
    const std::int32_t last = members[static_cast<std::size_t>(top_k_ - before - 1)];
    cut = {logits[last], last};
  } else {
    for (const double m : mass) kept_mass += m;
  }
  if (top_p_ < 1) {
    const double wanted = top_p_ * kept_mass;
    double sum = 0;
    int bin = 0;
    for (; bin < kBins - 1 && sum + mass[static_cast<std::size_t>(bin)] < wanted; ++bin) {
      sum += mass[static_cast<std::size_t>(bin)];
    }
    for (const std::int32_t member : sorted_members(bin)) {
      if (!cut.keeps(logits[member], member)) break;
      sum += weights[member];
      if (sum >= wanted) {
        cut = {logits[member], member};
        break;
      }
    }
  }
  if (min_p_ > 0) {
    const auto lowest = static_cast<float>(max + temperature_ * std::log(min_p_));
    if (lowest > cut.logit) cut = {lowest, std::numeric_limits<std::int32_t>::max()};
  }
  return cut;
}

Drawn Sampler::draw(const float* logits, double uniform, SamplerScratch& scratch) const {
  float max = 0;
  if (!kernels_.max_logit(logits, vocabulary_, &max)) return {0, 0, false};
  if (greedy_) {
    const auto id = static_cast<std::int32_t>(std::find(logits, logits + vocabulary_, max) - logits);
    return {id, logprob(logits, id, max, total_weight(logits, max)), true};
  }
  const std::int64_t blocks = (vocabulary_ + kBlock - 1) / kBlock;
  auto& sums = scratch.block_sums;
  sums.resize(static_cast<std::size_t>(blocks));
  double total = 0;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t begin = block * kBlock, count = std::min(kBlock, vocabulary_ - begin);
    sums[static_cast<std::size_t>(block)] =
        kernels_.exp_weights(logits + begin, count, max, inverse_temperature_, nullptr);
    total += sums[static_cast<std::size_t>(block)];
  }
  Cut cut{-std::numeric_limits<float>::infinity(), std::numeric_limits<std::int32_t>::max()};
  double kept = total;
  if ((top_k_ > 0 && top_k_ < vocabulary_) || top_p_ < 1 || min_p_ > 0) {
    cut = find_cut(logits, max, scratch);
    kept = 0;
    for (std::int64_t block = 0; block < blocks; ++block) {
      double sum = 0;
      for (std::int64_t i = block * kBlock; i < std::min((block + 1) * kBlock, vocabulary_); ++i) {
        if (cut.keeps(logits[i], static_cast<std::int32_t>(i))) sum += scratch.weights[static_cast<std::size_t>(i)];
      }
      sums[static_cast<std::size_t>(block)] = sum;
      kept += sum;
    }
  }
  // The block that holds the target (the last one with any mass where rounding left none), then the token inside.
  double left = uniform * kept, inside = 0;
  std::int64_t block = 0;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const double sum = sums[static_cast<std::size_t>(b)];
    if (sum <= 0) continue;
    block = b;
    inside = left;
    if (left < sum) break;
    left -= sum;
  }
  const std::int64_t begin = block * kBlock, count = std::min(kBlock, vocabulary_ - begin);
  float weights[kBlock];
  kernels_.exp_weights(logits + begin, count, max, inverse_temperature_, weights);
  std::int64_t chosen = -1;
  for (std::int64_t i = 0; i < count; ++i) {
    if (weights[i] <= 0 || !cut.keeps(logits[begin + i], static_cast<std::int32_t>(begin + i))) continue;
    chosen = begin + i;
    inside -= weights[i];
    if (inside < 0) break;
  }
  return {static_cast<std::int32_t>(chosen), logprob(logits, chosen, max, total), true};
}

}  // namespace setrl::rollout
