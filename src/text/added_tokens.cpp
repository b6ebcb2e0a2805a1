#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace setrl::text {

namespace {

bool starts_with_word(std::string_view text) {
  std::size_t at = 0;
  return !text.empty() && is_word(next_code_point(text, at));
}

// Start of the last character of a non-empty valid text.
std::size_t last_character(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && starts_with_word(text.substr(last_character(text)));
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) {
  for (auto& token : tokens) {
    if (token.content.empty()) continue;
    by_first_byte_[static_cast<unsigned char>(token.content[0])].push_back(std::move(token));
  }
  for (auto& bucket : by_first_byte_) {
    std::stable_sort(bucket.begin(), bucket.end(),
                     [](const AddedToken& a, const AddedToken& b) { return a.content.size() > b.content.size(); });
  }
}

void AddedTokenMatcher::split(std::string_view text,
                              const std::function<void(std::string_view, std::int32_t)>& piece) const {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto& bucket = by_first_byte_[static_cast<unsigned char>(text[at])];
    const auto found = std::find_if(bucket.begin(), bucket.end(), [&](const AddedToken& token) {
      return text.compare(at, token.content.size(), token.content) == 0;
    });
    if (found == bucket.end()) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + found->content.size();
    at = end;
    if (found->single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    while (found->lstrip && begin > done) {
      const std::size_t previous = last_character(text.substr(0, begin));
      std::size_t cursor = previous;
      if (!is_white_space(next_code_point(text, cursor))) break;
      begin = previous;
    }
    while (found->rstrip && end < text.size()) {
      std::size_t cursor = end;
      if (!is_white_space(next_code_point(text, cursor))) break;
      end = cursor;
    }
    if (begin > done) piece(text.substr(done, begin - done), -1);
    piece(text.substr(begin, end - begin), found->id);
    done = at = end;
  }
  if (done < text.size()) piece(text.substr(done), -1);
}

}  // namespace setrl::text
