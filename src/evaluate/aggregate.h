// Many sampled answers of a problem -> one answer set: the ways to spend several generations that a set competes with.
#pragma once

#include <vector>

#include "records/group.h"

namespace setrl::evaluate {

enum class Aggregation {
  best_of_n,         // the answers that came with the highest confidence; without confidences, in the completions with
                     // the highest mean log-probability of a token (which only ranks: the set has no confidences then)
  self_consistency,  // the most frequent answers (arXiv 2203.11171); the confidence is the share of the completions
};

// Each group becomes one with a single completion: its verdict holds up to k different answers (by identity_of), its
// tokens are as many as all of the group's together, its reward is NaN. Ties: self_consistency: higher sum of
// confidences, then the answer that came first; best_of_n: the one that came first. Abstentions take part like answers.
// Infrastructure failures are left out; where nothing parsed, the result is malformed.
std::vector<Group> aggregate(const std::vector<Group>& groups, Aggregation kind, int k);

}  // namespace setrl::evaluate
