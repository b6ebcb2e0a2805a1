// Draws a token from logits. The policy that is recorded is softmax(logits / temperature); top-k, top-p and min-p only
// restrict what may be drawn. Filters in the usual order: the k largest; of these the smallest set with mass >= top_p;
// of these the ones with at least min_p times the largest probability. Equal logits rank by id.
#pragma once

#include <cstdint>
#include <vector>

#include "rollout/batch.h"
#include "rollout/engine.h"
#include "rollout/kernels.h"

namespace setrl::rollout {

// Throws UserError on options out of range.
void check_sampling(const SamplingOptions& options);

// Work space of one thread.
struct SamplerScratch {
  std::vector<float> weights;
  std::vector<double> block_sums, bin_mass;
  std::vector<std::int32_t> bin_counts, members;
};

class Sampler {
 public:
  // Checks the options. A small value: it may be made for every draw.
  Sampler(const Kernels& kernels, std::int64_t vocabulary, const SamplingOptions& options);

  // `uniform` in [0, 1). The inverse of the cumulative distribution over ids in ascending order, so a result depends on
  // its arguments only.
  Drawn draw(const float* logits, double uniform, SamplerScratch& scratch) const;
  // The log-probability that draw() would record for this id.
  Drawn score(const float* logits, std::int32_t id) const;

 private:
  // Tokens at or above it may be drawn.
  struct Cut {
    float logit;
    std::int32_t id;
    bool keeps(float other, std::int32_t other_id) const { return other > logit || (other == logit && other_id <= id); }
  };
  Cut find_cut(const float* logits, float max, SamplerScratch& scratch) const;
  // Sum of exp((logit - max) / temperature), and the log-probability of an id.
  double total_weight(const float* logits, float max) const;
  float logprob(const float* logits, std::int64_t id, float max, double total) const;

  const Kernels& kernels_;
  std::int64_t vocabulary_;
  double temperature_;  // of the recorded policy: 1 where greedy
  bool greedy_;
  float inverse_temperature_;
  int top_k_;
  double top_p_, min_p_;
};

}  // namespace setrl::rollout
