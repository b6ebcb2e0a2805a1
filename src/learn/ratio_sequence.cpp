// GSPO (Zheng et al. 2025): one ratio a completion, s = exp(mean over tokens of log(pi / pi_old)), clipped like PPO's;
// every token of the completion carries the completion's loss.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "learn/objective.h"

namespace setrl::learn {

namespace {

class SequenceRatio : public Surrogate {
 public:
  SequenceRatio(double clip_low, double clip_high) : low_(1 - clip_low), high_(1 + clip_high) {}
  bool whole_sequences() const override { return true; }

  void add(const TokenSpan& span, const std::vector<double>& weight, std::vector<double>& gradient,
           ObjectiveSums& sums) const override {
    double log_ratio = 0;
    if (span.old_logprob != nullptr) {
      for (std::int64_t i = 0; i < span.count; ++i) {
        log_ratio += static_cast<double>(span.logprob[i]) - span.old_logprob[i];
      }
      log_ratio /= static_cast<double>(span.count);
    }
    const double ratio = std::exp(log_ratio);
    const double plain = ratio * span.advantage, clipped = std::clamp(ratio, low_, high_) * span.advantage;
    const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
    sums.loss -= total * std::min(plain, clipped);
    if (plain <= clipped) {
      for (double& value : gradient) value -= total * plain / static_cast<double>(span.count);
    } else {
      sums.clipped += static_cast<double>(span.count);
    }
  }

 private:
  double low_, high_;
};

}  // namespace

std::unique_ptr<Surrogate> make_sequence_ratio(double clip_low, double clip_high) {
  return std::make_unique<SequenceRatio>(clip_low, clip_high);
}

}  // namespace setrl::learn
