// UTF-8 helpers over utf8proc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace setrl::text {

// One code point at `at` (advanced past it). An invalid sequence gives U+FFFD and advances over its maximal valid
// prefix, as the Unicode standard recommends (and Python's decode(errors="replace") does).
char32_t next_code_point(std::string_view text, std::size_t& at);

void append_utf8(std::string& text, char32_t code_point);

// Every invalid sequence replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

// Bytes at the end of `text` that begin a character and may still be completed (0 to 3).
std::size_t unfinished_bytes(std::string_view text);

std::string to_nfc(const std::string& text);  // `text` is valid UTF-8

bool is_white_space(char32_t code_point);  // Unicode White_Space
bool is_word(char32_t code_point);         // letter, mark, number or connector, as \w

}  // namespace setrl::text
