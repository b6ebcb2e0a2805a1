// What the verifier says of a completion.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl {

// The K answers of a completion, or the reason why the text does not parse.
struct AnswerSet {
  std::string think;                 // text of the think block
  std::vector<std::string> answers;  // [K] raw text between the tags, trimmed
  std::vector<double> confidences;   // [K] in [0, 1] (RLCR), empty where the format has none
  std::string malformed_reason;      // empty where well formed

  bool well_formed() const { return malformed_reason.empty(); }
};

// Verdict::matched_gold of an answer that is no candidate but an abstention ("none", where reward.abstention is set).
constexpr std::int32_t kAbstained = -2;

enum class Outcome : std::uint8_t { graded = 0, bad_format = 1, infrastructure_failure = 2 };

struct RewardTerm {
  std::string name;  // "format", "correct", "calibration", "count", "abstention", ...
  double value = 0;  // weighted: the terms sum to the total
};

// An answer that is a program. Two programs are the same where `tree` is.
struct ProgramTrace {
  std::uint64_t tree = 0;       // of the syntax tree with names normalised; 0 where the text is no program
  std::uint64_t behaviour = 0;  // of its results on the tests' inputs; 0 where there are none
  std::string reason;           // why it did not pass its tests; empty where it did
};

struct Verdict {
  Outcome outcome = Outcome::graded;
  AnswerSet answers;
  std::vector<std::uint8_t> correct;  // [K] 1 where the answer matches a gold that no earlier answer matched
  // [K] index into Problem::golds, -1 where none, kAbstained; also set for duplicates of a gold. Where an external
  // verifier decides, answers that are no listed gold carry a number from a hash instead: equal for the same answer.
  std::vector<std::int32_t> matched_gold;
  std::vector<double> f1;  // [K] word overlap with the best gold; empty where the task reports none
  std::vector<ProgramTrace> programs;  // [K] where the answers are programs, empty elsewhere
  std::vector<RewardTerm> terms;
  double total = 0;

  int correct_count() const {
    int count = 0;
    for (const auto value : correct) count += value;
    return count;
  }
};

}  // namespace setrl
