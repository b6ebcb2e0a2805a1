// Groups -> training batch: advantages per group of rewards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "records/group.h"
#include "records/training_batch.h"

namespace setrl::learn {

// Advantages of one group's rewards; kind: mean (r - m), mean_std ((r - m) / (s + 1e-6), s of the
// population; TRL takes the sample's s and 1e-4), maxrl ((r - m) / (m + 1e-6)), or one of subset_advantage.h for `k`.
// All zero where the rewards are equal.
std::vector<double> advantages(const std::string& kind, const std::vector<double>& rewards, int k);

// Verified group -> training group. Infrastructure failures are masked and left out of the mean; truncated completions
// are masked where config.learn.mask_truncated. `signal` is false where all advantages are zero.
struct Prepared {
  TrainingGroup group;
  bool signal = false;
};
Prepared prepare(const LearnSection& config, const Group& group);

// Which rank trains which group: balanced by token count, a pure function of the counts (longest first, least loaded
// rank).
std::vector<int> balance(const std::vector<std::int64_t>& token_counts, int ranks);

}  // namespace setrl::learn
