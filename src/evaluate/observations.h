// What one completion or one problem shows, before any averaging.
#pragma once

#include <cstdint>
#include <map>
#include <string>
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

// What makes two answers of a problem the same: of programs the syntax tree with names normalised; of others the gold
// where one is matched, else the text without case, ASCII punctuation and repeated white space.
std::string identity_of(const Verdict& verdict, std::size_t slot);

// Golds found, by the identity of the correct answers: in how many completions of the group each was found.
std::map<std::string, std::int64_t> finds_of_golds(const Group& group);
// How many of them are golds that the problem lists.
std::int64_t count_listed(const Group& group, const std::map<std::string, std::int64_t>& finds);

// Different answers over all completions of a problem, by identity: in how many completions each occurs. Abstentions
// are no answers.
std::map<std::string, std::int64_t> occurrences_of_answers(const Group& group);

// Different behaviours of the programs of a group, correct or not, on the tests' inputs. 0 for other tasks.
std::int64_t count_behaviours(const Group& group);

}  // namespace setrl::evaluate
