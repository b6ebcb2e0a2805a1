// What one completion or one problem shows, before any averaging.
#pragma once

#include <cstdint>
#include <vector>

#include "records/group.h"

namespace setrl::evaluate {

// Infrastructure failures say nothing about the policy.
inline bool counts(const Verdict& verdict) {
  return verdict.outcome != Outcome::infrastructure_failure;
}

// Slots of a graded set that hold an answer (not an abstention), most confident first; by position among equals and
// where the format has no confidences. Empty for a malformed text.
std::vector<std::size_t> ranked_answers(const Verdict& verdict);

struct ConfidencePairs {
  std::vector<double> confidences;
  std::vector<std::uint8_t> correct;
};

// Adds (confidence, correct) of every answer of a graded set with confidences.
void append_pairs(const Verdict& verdict, ConfidencePairs& pairs);

// Sum of the confidences of the answers (abstentions left out).
double confidence_sum(const Verdict& verdict);

// Golds found, by index: in how many completions of the group each was found. [golds]
// Where answers are programs and there is no list of golds: of each different correct program (syntax tree with names
// normalised), in how many completions it was found. [different correct programs]
std::vector<std::int64_t> finds_of_golds(const Group& group);

// Different behaviours of the programs of a group, correct or not, on the tests' inputs. 0 for other tasks.
std::int64_t count_behaviours(const Group& group);

// Different answers over all completions of a problem: programs by syntax tree with names normalised; others by gold
// where one is matched; else by text without case, ASCII punctuation and repeated white space. Abstentions are no
// answers.
std::int64_t count_unique_answers(const Group& group);

}  // namespace setrl::evaluate
