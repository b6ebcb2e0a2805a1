#include <fmt/format.h>

#include <cmath>

#include "base/random.h"
#include "model/weight_source.h"

namespace setrl::model {

namespace {

class RandomWeights : public WeightSource {
 public:
  RandomWeights(const ModelSpec& spec, std::uint64_t seed) : spec_(spec), seed_(seed) {}

  const ModelSpec& spec() const override { return spec_; }

  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override {
    const auto ends_with = [&](const std::string& tail) {
      return name.size() >= tail.size() && name.compare(name.size() - tail.size(), tail.size(), tail) == 0;
    };
    const bool norm = ends_with("norm.weight");
    const bool bias = ends_with(".bias");
    const std::uint64_t stream = stable_hash(name);
    for (std::int64_t i = begin; i < end; ++i) out[i - begin] = norm ? 1.0f : bias ? 0.0f : normal(stream, i);
  }

  std::string describe() const override {
    return fmt::format("random, {:.1f}M parameters, seed {}", static_cast<double>(spec_.parameter_count()) / 1e6,
                       seed_);
  }

 private:
  float normal(std::uint64_t stream, std::int64_t index) const {
    const auto low = static_cast<std::uint32_t>(index), high = static_cast<std::uint32_t>(index >> 32);
    const double u = uniform_at(seed_, stream, low, 2 * high), v = uniform_at(seed_, stream, low, 2 * high + 1);
    return static_cast<float>(0.02 * std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * M_PI * v));
  }

  ModelSpec spec_;
  std::uint64_t seed_;
};

}  // namespace

std::unique_ptr<WeightSource> random_weights(const ModelSpec& spec, std::uint64_t seed) {
  return std::make_unique<RandomWeights>(spec, seed);
}

}  // namespace setrl::model
