// What the learner trains on: prompts with the completions that share them, and a weight for each completion.
#pragma once

#include <cstdint>
#include <vector>

namespace setrl {

struct TrainingSequence {
  std::vector<std::int32_t> tokens;     // [T] completion tokens; loss targets but for forced ones
  std::vector<float> rollout_logprobs;  // [T] as sampled, empty for supervised targets
  std::vector<std::uint8_t> forced;     // [T], 1: not the policy's choice, no loss target; empty where none
  double advantage = 0;
  bool masked = false;  // takes no part in loss or token counts (truncated and masked, infrastructure failure)

  bool is_target(std::size_t token) const { return forced.empty() || forced[token] == 0; }
  std::int64_t targets() const {
    std::int64_t count = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) count += is_target(i) ? 1 : 0;
    return count;
  }
};

// Sequences that continue one prompt. The prompt is computed once.
struct TrainingGroup {
  std::int64_t index = 0;            // place in the step's problem list: the order of accumulation
  std::vector<std::int32_t> prompt;  // [P]
  std::vector<TrainingSequence> sequences;

  std::int64_t token_count() const {
    std::int64_t count = static_cast<std::int64_t>(prompt.size());
    for (const auto& sequence : sequences) count += static_cast<std::int64_t>(sequence.tokens.size());
    return count;
  }
};

// One learner rank's share of a step.
struct TrainingBatch {
  std::int64_t step = 0;
  std::vector<TrainingGroup> groups;
};

}  // namespace setrl
