#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/random.h"
#include "model/weight_source.h"

namespace setrl::model {

namespace {

// Elements [begin, end) of the stream that a tensor's name gives.
using Fill = std::function<void(std::uint64_t stream, std::int64_t begin, std::int64_t end, float* out)>;

class RandomWeights : public WeightSource {
 public:
  RandomWeights(const ModelSpec& spec, std::uint64_t seed, Fill fill)
      : spec_(spec), seed_(seed), fill_(std::move(fill)) {}

  const ModelSpec& spec() const override { return spec_; }

  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override {
    const auto ends_with = [&](const std::string& tail) {
      return name.size() >= tail.size() && name.compare(name.size() - tail.size(), tail.size(), tail) == 0;
    };
    if (ends_with("norm.weight")) {
      std::fill_n(out, end - begin, 1.0f);
    } else if (ends_with(".bias")) {
      std::fill_n(out, end - begin, 0.0f);
    } else {
      fill_(stable_hash(name), begin, end, out);
    }
  }

  std::string describe() const override {
    return fmt::format("random, {:.1f}M parameters, seed {}", static_cast<double>(spec_.parameter_count()) / 1e6,
                       seed_);
  }

 private:
  ModelSpec spec_;
  std::uint64_t seed_;
  Fill fill_;
};

// Normal(0, 0.02), Box-Muller.
Fill normal_values(std::uint64_t seed) {
  return [seed](std::uint64_t stream, std::int64_t begin, std::int64_t end, float* out) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto low = static_cast<std::uint32_t>(i), high = static_cast<std::uint32_t>(i >> 32);
      const double u = uniform_at(seed, stream, low, 2 * high), v = uniform_at(seed, stream, low, 2 * high + 1);
      out[i - begin] = static_cast<float>(0.02 * std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * M_PI * v));
    }
  };
}

}  // namespace

std::unique_ptr<WeightSource> random_weights(const ModelSpec& spec, std::uint64_t seed) {
  return std::make_unique<RandomWeights>(spec, seed, normal_values(seed));
}

std::unique_ptr<WeightSource> repeated_random_weights(const ModelSpec& spec, std::uint64_t seed) {
  constexpr std::int64_t kValues = 1048573;  // a prime: rows of a matrix do not repeat
  std::vector<float> values(kValues);
  normal_values(seed)(stable_hash("repeated"), 0, kValues, values.data());
  Fill fill = [values = std::move(values)](std::uint64_t stream, std::int64_t begin, std::int64_t end, float* out) {
    const auto start = static_cast<std::int64_t>(stream % kValues);
    while (begin < end) {
      const std::int64_t at = (start + begin) % kValues, count = std::min(end - begin, kValues - at);
      out = std::copy_n(values.data() + at, count, out);
      begin += count;
    }
  };
  return std::make_unique<RandomWeights>(spec, seed, std::move(fill));
}

}  // namespace setrl::model
