// The form in which answers are compared.
#include <utf8proc.h>

#include "text/answer_grammar.h"
#include "text/unicode.h"

namespace setrl::text {

namespace {

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c > 0x20 && c < 0x30) || (c > 0x39 && c < 0x41) || (c > 0x5A && c < 0x61) || (c > 0x7A && c < 0x7F);
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return true;
    default: return false;
  }
}

}  // namespace

std::string normalise(std::string_view answer) {
  // Lower case and without punctuation, words apart.
  std::string result, word;
  const auto finish_word = [&] {
    if (!word.empty() && word != "a" && word != "an" && word != "the") result += (result.empty() ? "" : " ") + word;
    word.clear();
  };
  for (std::size_t at = 0; at < answer.size();) {
    const char32_t c = next_code_point(answer, at);
    if (is_white_space(c))
      finish_word();
    else if (!is_punctuation(c))
      append_utf8(word, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
  finish_word();
  return result;
}

}  // namespace setrl::text
