#include "text/byte_alphabet.h"

#include <array>
#include <unordered_map>

#include "text/unicode.h"

namespace setrl::text {

namespace {

// Printable Latin-1 bytes stand for themselves; the others are numbered from U+0100 on, in order.
std::array<char32_t, 256> make_characters() {
  std::array<char32_t, 256> characters{};
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174);
    characters[byte] = printable ? byte : next++;
  }
  return characters;
}

const std::array<char32_t, 256>& characters() {
  static const auto table = make_characters();
  return table;
}

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_utf8(text, characters()[static_cast<unsigned char>(byte)]);
  return text;
}

bool from_byte_alphabet(std::string_view text, std::string& bytes) {
  static const auto inverse = [] {
    std::unordered_map<char32_t, char> map;
    for (std::size_t byte = 0; byte < 256; ++byte) map[characters()[byte]] = static_cast<char>(byte);
    return map;
  }();
  bytes.clear();
  for (std::size_t at = 0; at < text.size();) {
    const auto found = inverse.find(next_code_point(text, at));
    if (found == inverse.end()) return false;
    bytes += found->second;
  }
  return true;
}

}  // namespace setrl::text
