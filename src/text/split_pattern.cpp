#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/split_pattern.h"

#include <pcre2.h>

#include "base/error.h"

namespace setrl::text {

namespace {

// \s of the `tokenizers` package is Unicode's White_Space; PCRE2's also takes U+180E, so it is written out.
constexpr const char* kWhiteSpace =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

std::string with_white_space(const std::string& pattern) {
  std::string result;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's')
        result += in_class ? kWhiteSpace : "[" + std::string(kWhiteSpace) + "]";
      else if (next == 'S' && !in_class)
        result += "[^" + std::string(kWhiteSpace) + "]";
      else
        result += std::string{c, next};
      continue;
    }
    if (c == '[' && !in_class)
      in_class = true;
    else if (c == ']')
      in_class = false;
    result += c;
  }
  return result;
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};

}  // namespace

struct SplitPattern::Compiled {
  std::unique_ptr<pcre2_code, FreeCode> code;
};

SplitPattern::SplitPattern(const std::string& pattern, const std::string& where)
    : compiled_(std::make_unique<Compiled>()) {
  const std::string source = with_white_space(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(), PCRE2_UTF | PCRE2_UCP,
                                      &error, &offset, nullptr));
  if (!compiled_->code) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    throw_user_error("{}: the split pattern '{}' does not compile: {}", where, pattern,
                     reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);  // without it, matching is only slower
}

SplitPattern::~SplitPattern() = default;
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;

void SplitPattern::split(std::string_view text, const std::function<void(std::string_view, bool)>& piece) const {
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(
      pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  std::size_t done = 0, from = 0;
  while (from < text.size()) {
    const int found = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                  PCRE2_NO_UTF_CHECK, match.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH) break;
    SETRL_CHECK(found > 0, "PCRE2 error {}", found);
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(match.get());
    if (span[1] == span[0]) {
      from = span[1] + 1;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80) ++from;
      continue;
    }
    if (span[0] > done) piece(text.substr(done, span[0] - done), false);
    piece(text.substr(span[0], span[1] - span[0]), true);
    done = from = span[1];
  }
  if (done < text.size()) piece(text.substr(done), false);
}

}  // namespace setrl::text
