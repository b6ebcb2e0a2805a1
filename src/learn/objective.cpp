#include "learn/objective.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace setrl::learn {

namespace {

// Surrogate, times the mismatch weight, plus the KL term.
class PolicyObjective : public Objective {
 public:
  PolicyObjective(const LearnSection& config, std::unique_ptr<Surrogate> surrogate)
      : surrogate_(std::move(surrogate)),
        mismatch_(config.mismatch),
        cap_(config.mismatch_cap),
        beta_(config.kl_coefficient) {}

  bool whole_sequences() const override { return surrogate_->whole_sequences(); }

  void evaluate(const TokenSpan& span, float* gradient, ObjectiveSums& sums) const override {
    const auto count = static_cast<std::size_t>(span.count);
    std::vector<double> weight(count, span.token_weight), total(count, 0.0);
    if (mismatch_ != "none" && span.rollout_logprob != nullptr) {
      for (std::size_t i = 0; i < count; ++i) weight[i] *= mismatch_weight(span, static_cast<std::int64_t>(i));
    }
    surrogate_->add(span, weight, total, sums);
    if (span.reference_logprob != nullptr) {
      // k3 estimator: exp(d) - d - 1 with d = log(reference / pi) (Schulman, "Approximating KL divergence").
      for (std::size_t i = 0; i < count; ++i) {
        const double d = static_cast<double>(span.reference_logprob[i]) - span.logprob[i];
        const double kl = std::exp(d) - d - 1;
        sums.kl += kl;
        sums.loss += span.token_weight * beta_ * kl;
        total[i] += span.token_weight * beta_ * (1 - std::exp(d));
      }
    }
    for (std::size_t i = 0; i < count; ++i) gradient[i] = static_cast<float>(total[i]);
  }

 private:
  // The learner's policy at the start of the batch over the one that sampled: both are constants of the loss.
  double mismatch_weight(const TokenSpan& span, std::int64_t i) const {
    const float learner = span.old_logprob != nullptr ? span.old_logprob[i] : span.logprob[i];
    const double ratio = std::exp(static_cast<double>(learner) - span.rollout_logprob[i]);
    if (mismatch_ == "truncate") return std::min(ratio, cap_);
    return ratio > cap_ || ratio < 1 / cap_ ? 0.0 : ratio;
  }

  std::unique_ptr<Surrogate> surrogate_;
  std::string mismatch_;
  double cap_, beta_;
};

class Imitation : public Objective {
 public:
  bool whole_sequences() const override { return false; }
  void evaluate(const TokenSpan& span, float* gradient, ObjectiveSums& sums) const override {
    for (std::int64_t i = 0; i < span.count; ++i) {
      sums.loss -= span.token_weight * span.logprob[i];
      gradient[i] = static_cast<float>(-span.token_weight);
    }
  }
};

}  // namespace

std::unique_ptr<Objective> make_policy_objective(const LearnSection& config) {
  if (config.mismatch != "none" && config.mismatch != "truncate" && config.mismatch != "mask") {
    throw_user_error("learn.mismatch: '{}' is not one of none, truncate, mask", config.mismatch);
  }
  std::unique_ptr<Surrogate> surrogate;
  if (config.ratio == "token")
    surrogate = make_token_ratio(config.clip_low, config.clip_high);
  else if (config.ratio == "sequence")
    surrogate = make_sequence_ratio(config.clip_low, config.clip_high);
  else if (config.ratio == "cispo")
    surrogate = make_cispo(config.clip_high);
  else
    throw_user_error("learn.ratio: '{}' is not one of token, sequence, cispo", config.ratio);
  return std::make_unique<PolicyObjective>(config, std::move(surrogate));
}

std::unique_ptr<Objective> make_imitation_objective() {
  return std::make_unique<Imitation>();
}

}  // namespace setrl::learn
