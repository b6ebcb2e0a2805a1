// What is optimised, seen from the log-probabilities: an objective turns the log-probabilities of a completion's tokens
// into a loss and its derivative with respect to each of them. Adding one is one small file and a line in
// objective.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "config/run_config.h"

namespace setrl::learn {

// Consecutive tokens of one completion: all of them, or (for objectives that work token by token) some.
struct TokenSpan {
  std::int64_t count = 0;
  const float* logprob = nullptr;      // [count] of the current weights, tempered
  const float* old_logprob = nullptr;  // [count] at the start of the batch; null in its first update: equal to logprob
  const float* rollout_logprob = nullptr;    // [count] as sampled, or null
  const float* reference_logprob = nullptr;  // [count] of the frozen reference, or null
  double advantage = 0;
  double token_weight = 0;  // d(loss) / d(one token's loss): normalisation.h
};

// Sums over tokens; the loss is already weighted.
struct ObjectiveSums {
  double loss = 0;
  double clipped = 0;  // tokens whose gradient the clip removes or caps
  double kl = 0;       // k3 to the reference
};

class Objective {
 public:
  virtual ~Objective() = default;
  // True where evaluate() must see a completion whole.
  virtual bool whole_sequences() const = 0;
  // gradient[i] = d(loss)/d(logprob[i]), [count].
  virtual void evaluate(const TokenSpan& span, float* gradient, ObjectiveSums& sums) const = 0;
};

// Policy gradient of config.ratio with clip, mismatch correction and KL to the reference.
std::unique_ptr<Objective> make_policy_objective(const LearnSection& config);
// Mean negative log-likelihood.
std::unique_ptr<Objective> make_imitation_objective();

// The part that config.ratio names: the surrogate loss without mismatch correction and KL. `weight` [count] is each
// token's weight in the loss; adds to gradient.
class Surrogate {
 public:
  virtual ~Surrogate() = default;
  virtual bool whole_sequences() const = 0;
  virtual void add(const TokenSpan& span, const std::vector<double>& weight, std::vector<double>& gradient,
                   ObjectiveSums& sums) const = 0;
};
std::unique_ptr<Surrogate> make_token_ratio(double clip_low, double clip_high);     // ratio_token.cpp
std::unique_ptr<Surrogate> make_sequence_ratio(double clip_low, double clip_high);  // ratio_sequence.cpp
std::unique_ptr<Surrogate> make_cispo(double clip_high);                            // ratio_cispo.cpp

}  // namespace setrl::learn
