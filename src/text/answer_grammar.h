// The answer-set grammar: what the prompt asks for, how a gold set is written, and the parser.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/run_config.h"
#include "records/verdict.h"

namespace setrl::text {

struct Grammar {
  int k = 3;
  bool confidences = true;  // RLCR
  bool analysis = false;    // an <analysis> block is allowed after the think block or at the end
  bool abstention = false;  // the answer "none" may repeat and does not count as a duplicate
  bool programs = false;    // answers are programs: they differ where their texts do, punctuation included
};

// What task.k and the reward options ask for.
Grammar grammar_of(const RunConfig& config);

// Parses a completion's text (without the end-of-turn token). `ended` says whether it ended with that token; a
// truncated one is malformed. Never throws; a pure function. See REWARDS "Output grammar": one closed think block, then
// exactly K answers numbered in order, each non-empty and distinct after normalisation (programs: as texts), a finite
// decimal in [0,1] for each confidence, nothing else but white space. K = 1 uses the tags <answer> and <confidence>.
AnswerSet parse(const Grammar& grammar, std::string_view completion, bool ended);

// The text that parses to this set: think block, answers, confidences with two decimals. Throws BugError where the set
// has not K answers (and K confidences, for RLCR).
std::string render(const Grammar& grammar, const AnswerSet& set);

// The tag that closes the last thing a set must have: the K-th confidence, or the K-th answer where there are none.
std::string last_tag(const Grammar& grammar);

// The format's instructions for the system prompt (K distinct candidates, most likely first, tags, what a confidence
// means). Short, because every prompt pays for them: under 120 tokens of SmolLM2 for K = 3.
std::string instructions(const Grammar& grammar);

// Lower case (ASCII and simple Unicode folding), punctuation and the articles a/an/the removed, white space folded.
std::string normalise(std::string_view answer);

}  // namespace setrl::text
