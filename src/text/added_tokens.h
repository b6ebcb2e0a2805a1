// Tokens that are recognised as they stand in the text, before BPE.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace setrl::text {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool special = false, normalized = false, single_word = false, lstrip = false, rstrip = false;
};

// Finds added tokens in a text: leftmost, then longest, as `tokenizers` does.
class AddedTokenMatcher {
 public:
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // Calls `piece(part, id)` in order: id of an added token, or -1 for the text between them.
  void split(std::string_view text, const std::function<void(std::string_view part, std::int32_t id)>& piece) const;

 private:
  std::vector<AddedToken> by_first_byte_[256];  // longest first
};

}  // namespace setrl::text
