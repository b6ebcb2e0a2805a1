// Counter-based random numbers: a value depends on (seed, stream, counters) only, never on who asks or in which order.
// Philox-4x32-10: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace setrl {

// One Philox-4x32-10 block: 128 random bits from a 128-bit counter and a 64-bit key.
std::array<std::uint32_t, 4> philox4x32(const std::array<std::uint32_t, 4>& counter,
                                        const std::array<std::uint32_t, 2>& key);

// Stable 64-bit hash of a text (FNV-1a with a final mix), for deriving stream numbers from ids. Same on every machine.
std::uint64_t stable_hash(std::string_view text);

// Uniform in [0, 1) with 53 random bits, a pure function of its arguments. Used by the sampler as
// uniform_at(seed, stable_hash(problem id), sample index, position).
double uniform_at(std::uint64_t seed, std::uint64_t stream, std::uint32_t a, std::uint32_t b);

// A sequence of draws from one stream. Copyable; `position` is all the state there is.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  double uniform();                                        // [0, 1)
  double normal();                                         // mean 0, variance 1 (Box-Muller)
  std::uint64_t below(std::uint64_t n);                    // 0 .. n-1, unbiased enough: error < n / 2^53
  std::size_t choose(const std::vector<double>& weights);  // index with probability weight / sum

  // Fisher-Yates.
  template <typename T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

  std::uint64_t position() const { return position_; }

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;
};

}  // namespace setrl
