// What the policy wrote.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl {

// end_of_turn: came to its end, by an end-of-turn token or a stop rule; length: cut off; unfinished: still being
// written, in a group that a checkpoint takes along.
enum class FinishReason : std::uint8_t { end_of_turn = 0, length = 1, unfinished = 2 };

struct Completion {
  std::string problem_id;
  std::int32_t sample_index = 0;
  std::vector<std::int32_t> tokens;  // [T] with the end-of-turn token where it was sampled
  std::vector<float> logprobs;       // [T] natural log, under the tempered policy, before top-k and top-p
  // [T], 1 where the token was not sampled but forced (the close of a think block over its budget); empty where none
  // was. Their logprobs are the policy's, as everywhere, but they say nothing about its choices: no loss targets.
  std::vector<std::uint8_t> forced;
  std::int64_t oldest_version = 0;  // policy versions that wrote the first and the last token
  std::int64_t newest_version = 0;
  FinishReason finish = FinishReason::length;
};

}  // namespace setrl
