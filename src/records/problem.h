// What is asked, and what is right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl {

struct Message {
  std::string role;     // "system", "user" or "assistant"
  std::string content;  // UTF-8
};

// One correct answer. Matching compares normalised text with `text` and with each alias.
struct GoldAnswer {
  std::string text;
  std::vector<std::string> aliases;
  double probability = -1;  // probability that it is right (a differential), or -1 where none is known
};

struct Problem {
  std::string id;  // unique within the task
  std::string task;
  std::vector<Message> messages;
  std::vector<GoldAnswer> golds;  // most probable first
  std::string payload;            // JSON for the grader (unit tests, the true pathology, ...); may be empty
};

// A problem as the policy sees it: rendered and tokenized.
struct Prompt {
  std::string problem_id;
  std::vector<std::int32_t> tokens;
};

}  // namespace setrl
