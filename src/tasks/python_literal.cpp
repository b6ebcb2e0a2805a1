#include "tasks/python_literal.h"

#include <charconv>
#include <cmath>
#include <cstdint>

#include "base/error.h"

namespace setrl::tasks {
namespace {

void append_utf8(std::string& text, std::uint32_t code) {
  const auto add = [&text](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | (code >> 6));
    add(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    add(0xE0 | (code >> 12));
    add(0x80 | ((code >> 6) & 0x3F));
    add(0x80 | (code & 0x3F));
  } else {
    add(0xF0 | (code >> 18));
    add(0x80 | ((code >> 12) & 0x3F));
    add(0x80 | ((code >> 6) & 0x3F));
    add(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  // Calls `item` for each element between the brackets.
  template <typename Item>
  void list(Item item) {
    expect('[');
    if (accept(']')) return;
    do {
      if (accept(']')) return;  // a comma may stand behind the last element
      item();
    } while (accept(','));
    expect(']');
  }

  std::string string() {
    skip_space();
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail("a quoted string");
    ++at_;
    std::string value;
    while (true) {
      if (at_ == text_.size()) fail("a closing quote");
      const char c = text_[at_++];
      if (c == quote) return value;
      if (c == '\\') {
        escape(value);
      } else {
        value += c;
      }
    }
  }

  double number() {
    skip_space();
    double value = 0;
    const auto result = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (result.ec != std::errc() || !std::isfinite(value)) fail("a finite number");
    at_ = static_cast<std::size_t>(result.ptr - text_.data());
    return value;
  }

  void expect(char c) {
    if (!accept(c)) fail(fmt::format("'{}'", c));
  }

  void finish() {
    skip_space();
    if (at_ != text_.size()) fail("the end of the list");
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
  }

  bool accept(char c) {
    skip_space();
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  void escape(std::string& value) {
    const char c = peek();
    ++at_;
    switch (c) {
      case 'n': value += '\n'; return;
      case 't': value += '\t'; return;
      case '\\':
      case '\'':
      case '"': value += c; return;
      case 'x': append_utf8(value, hexadecimal(2)); return;
      case 'u': append_utf8(value, hexadecimal(4)); return;
      case 'U': append_utf8(value, hexadecimal(8)); return;
      default: --at_; fail("a known escape");
    }
  }

  std::uint32_t hexadecimal(std::size_t digits) {
    std::uint32_t code = 0;
    const auto part = text_.substr(at_, digits);
    const auto result = std::from_chars(part.data(), part.data() + part.size(), code, 16);
    if (part.size() != digits || result.ptr != part.data() + digits || code > 0x10FFFF) fail("hexadecimal digits");
    at_ += digits;
    return code;
  }

  [[noreturn]] void fail(const std::string& expected) const {
    throw_user_error("{}: {} is expected at character {} of `{}`", place_, expected, at_ + 1,
                     text_.size() > 80 ? std::string(text_.substr(0, 80)) + "..." : std::string(text_));
  }

  std::string_view text_;
  const std::string& place_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<std::string> parse_string_list(std::string_view text, const std::string& place) {
  std::vector<std::string> values;
  Parser parser(text, place);
  parser.list([&] { values.push_back(parser.string()); });
  parser.finish();
  return values;
}

std::vector<std::pair<std::string, double>> parse_weighted_list(std::string_view text, const std::string& place) {
  std::vector<std::pair<std::string, double>> values;
  Parser parser(text, place);
  parser.list([&] {
    parser.expect('[');
    std::string name = parser.string();
    parser.expect(',');
    const double weight = parser.number();
    parser.expect(']');
    values.emplace_back(std::move(name), weight);
  });
  parser.finish();
  return values;
}

}  // namespace setrl::tasks
