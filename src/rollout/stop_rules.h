// Ends a completion, or forces its next tokens, by what its text says. The engine knows only tokens: what text they
// make is passed in as a function.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace setrl::rollout {

struct StopRules {
  // The bytes a token adds to the text; nothing for special tokens. Called by the engine's thread only.
  std::function<std::string_view(std::int32_t)> bytes_of;

  // The completion ends once one of these is written, wherever the borders of tokens fall. The token that completes it
  // is kept.
  std::vector<std::string> stop_texts;

  // ... or once this is written `last_count` times (the closing tag of the last answer). 0: off.
  std::string last_text;
  int last_count = 0;

  // A think block that is still open `think_budget` tokens after its opening tag is closed by force: `think_close_ids`
  // are written whatever the policy would have said. 0: off. Where `think_open` is empty, the block is open from the
  // start (the prompt opened it).
  int think_budget = 0;
  std::string think_open, think_close;
  std::vector<std::int32_t> think_close_ids;

  bool any() const { return !stop_texts.empty() || last_count > 0 || think_budget > 0; }
  // Throws BugError where a rule lacks its text or tokens.
  void check() const;
};

// How far one completion has come with the rules (which must outlive it).
class StopWatch {
 public:
  explicit StopWatch(const StopRules& rules);

  // Takes the next token; true where the completion ends with it.
  bool push(std::int32_t id);
  // The token that must come next, or -1.
  std::int32_t forced() const;

 private:
  // How often `text` ends inside the newest token.
  int count(const std::string& text, std::size_t begin) const;

  const StopRules* rules_;
  std::string text_;  // what may still be the beginning of a match, and the newest token
  std::size_t keep_ = 0;
  int written_ = 0;  // of last_text
  bool open_ = false, closed_ = false;
  int thought_ = 0;         // tokens inside the open block
  std::size_t forced_ = 0;  // of think_close_ids, already written
  bool forcing_ = false;
};

}  // namespace setrl::rollout
