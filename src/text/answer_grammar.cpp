#include "text/answer_grammar.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "text/unicode.h"

namespace setrl::text {

namespace {

constexpr std::string_view kAbstention = "none";

std::string tag(const Grammar& grammar, const char* name, int number, bool closing) {
  const std::string suffix = grammar.k == 1 ? "" : std::to_string(number);
  return fmt::format("<{}{}{}>", closing ? "/" : "", name, suffix);
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\r\f\v";
  const auto begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

// Walks over the text from left to right; every method either advances or leaves a reason.
class Parser {
 public:
  Parser(const Grammar& grammar, std::string_view text) : grammar_(grammar), rest_(text) {}

  AnswerSet run(bool ended) {
    if (!ended) return fail("truncated: the text does not end with the end-of-turn token");
    std::string_view think;
    if (!block("<think>", "</think>", "think block", think)) return set_;
    set_.think = std::string(trimmed(think));
    bool analysed = false;
    if (!analysis(analysed)) return set_;
    for (int number = 1; number <= grammar_.k; ++number) {
      if (!answer(number) || (grammar_.confidences && !confidence(number))) return set_;
    }
    if (!analysed && !analysis(analysed)) return set_;
    skip_space();
    if (!rest_.empty()) return fail("text after the last answer");
    return set_;
  }

 private:
  AnswerSet fail(const std::string& reason) {
    set_.answers.clear();
    set_.confidences.clear();
    set_.malformed_reason = reason;
    return set_;
  }

  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n\r\f\v"), rest_.size())); }

  bool starts_with(std::string_view prefix) const { return rest_.substr(0, prefix.size()) == prefix; }

  // "<open>content</close>" after white space.
  bool block(const std::string& open, const std::string& close, const std::string& what, std::string_view& content) {
    skip_space();
    if (!starts_with(open)) {
      fail(fmt::format("{} missing: expected {}", what, open));
      return false;
    }
    rest_.remove_prefix(open.size());
    const auto end = rest_.find(close);
    if (end == std::string_view::npos) {
      fail(fmt::format("{} not closed: expected {}", what, close));
      return false;
    }
    content = rest_.substr(0, end);
    rest_.remove_prefix(end + close.size());
    return true;
  }

  bool analysis(bool& seen) {
    skip_space();
    if (!grammar_.analysis || !starts_with("<analysis>")) return true;
    std::string_view content;
    seen = true;
    return block("<analysis>", "</analysis>", "analysis block", content);
  }

  bool answer(int number) {
    const std::string what = fmt::format("answer {}", number);
    std::string_view content;
    if (!block(tag(grammar_, "answer", number, false), tag(grammar_, "answer", number, true), what, content))
      return false;
    content = trimmed(content);
    for (const std::string_view inner : {"<answer", "</answer", "<confidence", "</confidence", "<think>", "</think>"}) {
      if (content.find(inner) != std::string_view::npos) {
        fail(fmt::format("{} holds a tag", what));
        return false;
      }
    }
    const std::string normalised = normalise(content);
    if (normalised.empty()) {
      fail(fmt::format("{} is empty", what));
      return false;
    }
    const bool abstains = grammar_.abstention && normalised == kAbstention;
    if (!abstains && !seen_.insert(normalised).second) {
      fail(fmt::format("{} repeats an earlier answer", what));
      return false;
    }
    set_.answers.emplace_back(content);
    return true;
  }

  bool confidence(int number) {
    const std::string what = fmt::format("confidence {}", number);
    std::string_view content;
    if (!block(tag(grammar_, "confidence", number, false), tag(grammar_, "confidence", number, true), what, content)) {
      return false;
    }
    content = trimmed(content);
    // A plain decimal: digits with at most one point. No sign, exponent, per cent, inf or nan.
    const bool plain = content.find_first_not_of("0123456789.") == std::string_view::npos &&
                       std::count(content.begin(), content.end(), '.') <= 1 &&
                       content.find_first_of("0123456789") != std::string_view::npos;
    double value = -1;
    if (plain) std::from_chars(content.data(), content.data() + content.size(), value);
    if (!(value >= 0 && value <= 1)) {
      fail(fmt::format("{} is not a decimal in [0, 1]", what));
      return false;
    }
    set_.confidences.push_back(value);
    return true;
  }

  const Grammar& grammar_;
  std::string_view rest_;
  AnswerSet set_;
  std::set<std::string> seen_;
};

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

AnswerSet parse(const Grammar& grammar, std::string_view completion, bool ended) {
  return Parser(grammar, completion).run(ended);
}

std::string render(const Grammar& grammar, const AnswerSet& set) {
  std::string text = "<think>" + set.think + "</think>";
  for (int number = 1; number <= grammar.k; ++number) {
    const auto i = static_cast<std::size_t>(number - 1);
    text += "\n" + tag(grammar, "answer", number, false) + set.answers.at(i) + tag(grammar, "answer", number, true);
    if (!grammar.confidences) continue;
    text += fmt::format("{}{:.2f}{}", tag(grammar, "confidence", number, false), set.confidences.at(i),
                        tag(grammar, "confidence", number, true));
  }
  return text;
}

std::string instructions(const Grammar& grammar) {
  std::string text = "Think first inside <think></think>. ";
  text += grammar.k == 1
              ? "Then give your answer"
              : fmt::format("Then give exactly {} different candidate answers, most likely first", grammar.k);
  text += grammar.confidences ? ", with the probability from 0 to 1 that it is correct, judged on its own. " : ". ";
  text += "Write only the minimal answer string in a tag: exact match decides. ";
  if (grammar.abstention) text += "Write none where no further candidate is worth the risk of being wrong. ";
  if (grammar.analysis) text += "An <analysis></analysis> block may stand after the think block or at the end. ";
  AnswerSet shape;
  shape.think = "reasoning";
  shape.answers.assign(static_cast<std::size_t>(grammar.k), "...");
  shape.confidences.assign(static_cast<std::size_t>(grammar.k), 0);
  return text + "Format:\n" + render(grammar, shape);
}

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
