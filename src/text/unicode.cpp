#include "text/unicode.h"

#include <utf8proc.h>

#include <cstdlib>

#include "base/error.h"

namespace setrl::text {

namespace {

constexpr char32_t kReplacement = 0xFFFD;

// Length announced by a lead byte and the range that its second byte must lie in (Unicode standard, table 3-7).
struct Lead {
  int length = 0;
  std::uint8_t low = 0x80, high = 0xBF;
};

Lead lead_of(std::uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte >= 0xC2 && byte <= 0xDF) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

// Bytes of the valid prefix at `at`; `whole` says whether it is a complete character.
int valid_prefix(std::string_view text, std::size_t at, bool& whole) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const Lead lead = lead_of(byte(at));
  whole = false;
  if (lead.length == 0) return 1;
  int length = 1;
  while (length < lead.length && at + static_cast<std::size_t>(length) < text.size()) {
    const std::uint8_t next = byte(at + static_cast<std::size_t>(length));
    const bool fits = length == 1 ? next >= lead.low && next <= lead.high : next >= 0x80 && next <= 0xBF;
    if (!fits) return length;
    ++length;
  }
  whole = length == lead.length;
  return length;
}

}  // namespace

char32_t next_code_point(std::string_view text, std::size_t& at) {
  bool whole = false;
  const int length = valid_prefix(text, at, whole);
  const auto byte = [&](int i) {
    return static_cast<char32_t>(static_cast<std::uint8_t>(text[at + static_cast<std::size_t>(i)]));
  };
  char32_t code_point = kReplacement;
  if (whole) {
    constexpr char32_t kLeadMask[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    code_point = byte(0) & kLeadMask[length];
    for (int i = 1; i < length; ++i) code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  at += static_cast<std::size_t>(length);
  return code_point;
}

void append_utf8(std::string& text, char32_t code_point) {
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
    return;
  }
  const int more = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;
  constexpr char32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(kLead[more] | code_point >> (6 * more));
  for (int i = more - 1; i >= 0; --i) text += static_cast<char>(0x80 | (code_point >> (6 * i) & 0x3F));
}

std::string valid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    bool whole = false;
    at += static_cast<std::size_t>(valid_prefix(text, at, whole));
    if (whole)
      result.append(text.substr(begin, at - begin));
    else
      append_utf8(result, kReplacement);
  }
  return result;
}

std::size_t unfinished_bytes(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const std::size_t at = text.size() - back;
    if (lead_of(static_cast<std::uint8_t>(text[at])).length <= 1) continue;
    bool whole = false;
    const auto length = static_cast<std::size_t>(valid_prefix(text, at, whole));
    return !whole && length == back ? back : 0;
  }
  return 0;
}

std::string to_nfc(const std::string& text) {
  bool ascii = true;
  for (const char c : text) ascii = ascii && static_cast<std::uint8_t>(c) < 0x80;
  if (ascii) return text;
  utf8proc_uint8_t* composed = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  SETRL_CHECK(length >= 0, "NFC failed: {}", utf8proc_errmsg(length));
  std::string result(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(length));
  std::free(composed);
  return result;
}

bool is_white_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
  }
}

}  // namespace setrl::text
