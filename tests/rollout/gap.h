// How far two engines' completions of the same requests are from each other.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support.h"

namespace setrl::rollout::test {

// Of log-probabilities; `different`: completions whose texts are not the same.
struct Gap {
  double worst = 0, sum = 0;
  int tokens = 0, different = 0;
};

// Over the tokens up to the first one that is not the same.
inline Gap gap_between(const Results& a, const Results& b) {
  Gap gap;
  EXPECT_EQ(a.size(), b.size());
  for (const auto& [key, completion] : a) {
    const Completion& other = b.at(key);
    EXPECT_EQ(completion.tokens.size(), other.tokens.size());
    for (std::size_t t = 0; t < completion.tokens.size(); ++t) {
      if (completion.tokens[t] != other.tokens[t]) {
        ++gap.different;
        break;
      }
      const double distance = std::abs(completion.logprobs[t] - other.logprobs[t]);
      gap.worst = std::max(gap.worst, distance);
      gap.sum += distance;
      ++gap.tokens;
    }
  }
  return gap;
}

}  // namespace setrl::rollout::test
