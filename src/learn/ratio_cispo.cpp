// CISPO (MiniMax-M1, Chen et al. 2025): -stop_gradient(min(r, 1 + high)) A log pi, so that no token loses its gradient.
// Like its authors we put no lower bound on the ratio.
#include <algorithm>
#include <cmath>

#include "learn/objective.h"

namespace setrl::learn {

namespace {

class Cispo : public Surrogate {
 public:
  explicit Cispo(double clip_high) : high_(1 + clip_high) {}
  bool whole_sequences() const override { return false; }

  void add(const TokenSpan& span, const std::vector<double>& weight, std::vector<double>& gradient,
           ObjectiveSums& sums) const override {
    for (std::int64_t i = 0; i < span.count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double ratio =
          span.old_logprob == nullptr ? 1.0 : std::exp(static_cast<double>(span.logprob[i]) - span.old_logprob[i]);
      const double factor = weight[at] * std::min(ratio, high_) * span.advantage;
      sums.loss -= factor * span.logprob[i];
      gradient[at] -= factor;
      if (ratio > high_) sums.clipped += 1;
    }
  }

 private:
  double high_;
};

}  // namespace

std::unique_ptr<Surrogate> make_cispo(double clip_high) {
  return std::make_unique<Cispo>(clip_high);
}

}  // namespace setrl::learn
