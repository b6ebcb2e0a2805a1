// PPO's clipped surrogate, token by token: -min(r A, clip(r, 1 - low, 1 + high) A) with r = pi / pi_old (Schulman et
// al. 2017; different bounds: DAPO, Yu et al. 2025).
#include <algorithm>
#include <cmath>

#include "learn/objective.h"

namespace setrl::learn {

namespace {

class TokenRatio : public Surrogate {
 public:
  TokenRatio(double clip_low, double clip_high) : low_(1 - clip_low), high_(1 + clip_high) {}
  bool whole_sequences() const override { return false; }

  void add(const TokenSpan& span, const std::vector<double>& weight, std::vector<double>& gradient,
           ObjectiveSums& sums) const override {
    for (std::int64_t i = 0; i < span.count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double ratio =
          span.old_logprob == nullptr ? 1.0 : std::exp(static_cast<double>(span.logprob[i]) - span.old_logprob[i]);
      const double plain = ratio * span.advantage, clipped = std::clamp(ratio, low_, high_) * span.advantage;
      sums.loss -= weight[at] * std::min(plain, clipped);
      if (plain <= clipped)
        gradient[at] -= weight[at] * plain;
      else
        sums.clipped += 1;
    }
  }

 private:
  double low_, high_;
};

}  // namespace

std::unique_ptr<Surrogate> make_token_ratio(double clip_low, double clip_high) {
  return std::make_unique<TokenRatio>(clip_low, clip_high);
}

}  // namespace setrl::learn
