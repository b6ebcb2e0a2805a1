// One problem, its G completions and their verdicts: the unit that travels from rollout to verifier to learner.
#pragma once

#include <cstdint>
#include <vector>

#include "records/completion.h"
#include "records/problem.h"
#include "records/verdict.h"

namespace setrl {

struct Group {
  std::int64_t step = 0;   // training step that asked for it
  std::int64_t index = 0;  // place in that step's problem list
  std::int64_t policy_version = 0;
  Problem problem;
  Prompt prompt;
  std::vector<Completion> completions;  // [G]
  std::vector<Verdict> verdicts;        // [G] once verified, empty before

  std::int64_t token_count() const {
    std::int64_t count = static_cast<std::int64_t>(prompt.tokens.size());
    for (const auto& completion : completions) count += static_cast<std::int64_t>(completion.tokens.size());
    return count;
  }
};

}  // namespace setrl
