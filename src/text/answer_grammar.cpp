#include "text/answer_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/error.h"

namespace setrl::text {

namespace {

constexpr std::string_view kAbstention = "none";
constexpr std::string_view kSpaces = " \t\n\r\f\v";

std::string tag(const Grammar& grammar, const char* name, int number, bool closing) {
  const std::string suffix = grammar.k == 1 ? "" : std::to_string(number);
  return fmt::format("<{}{}{}>", closing ? "/" : "", name, suffix);
}

// The whole text of an answer set; `confidences` is empty where the format has none.
std::string tagged(const Grammar& grammar, const std::string& think, const std::vector<std::string>& answers,
                   const std::vector<std::string>& confidences) {
  std::string text = "<think>" + think + "</think>";
  const auto put = [&](const char* name, std::size_t i, const std::string& content) {
    const int number = static_cast<int>(i) + 1;
    text += tag(grammar, name, number, false) + content + tag(grammar, name, number, true);
  };
  for (std::size_t i = 0; i < answers.size(); ++i) {
    text += "\n";
    put("answer", i, answers[i]);
    if (!confidences.empty()) put("confidence", i, confidences[i]);
  }
  return text;
}

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

// Walks over the text once, from left to right; every method either advances or leaves a reason.
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
    if (!rest_.empty()) return fail("text after the last answer: " + found());
    return set_;
  }

 private:
  AnswerSet fail(const std::string& reason) {
    set_.answers.clear();
    set_.confidences.clear();
    set_.malformed_reason = reason;
    return set_;
  }

  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(kSpaces), rest_.size())); }

  bool starts_with(std::string_view prefix) const { return rest_.substr(0, prefix.size()) == prefix; }

  // What stands where a tag is expected, for the reason.
  std::string found() const {
    if (rest_.empty()) return "the text ends";
    if (starts_with("<think>")) return "a second think block";
    if (starts_with("</think>")) return "a second </think>";
    if (starts_with("<analysis>")) return grammar_.analysis ? "a second analysis block" : "an analysis block";
    for (const std::string_view name : {"<answer", "</answer", "<confidence", "</confidence"}) {
      if (!starts_with(name)) continue;
      const auto end = rest_.find_first_not_of("0123456789", name.size());
      // A number of more digits is no tag worth repeating.
      if (end < rest_.size() && rest_[end] == '>' && end < name.size() + 6)
        return std::string(rest_.substr(0, end + 1));
    }
    return "other text";
  }

  // "<open>content</close>" after white space.
  bool block(const std::string& open, const std::string& close, const std::string& what, std::string_view& content) {
    skip_space();
    if (!starts_with(open)) {
      fail(fmt::format("{} missing: {} where {} is expected", what, found(), open));
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
        fail(fmt::format("{} holds a tag ({})", what, inner));
        return false;
      }
    }
    const bool abstains = grammar_.abstention && normalise(content) == kAbstention;
    const std::string normalised = grammar_.programs && !abstains ? std::string(content) : normalise(content);
    if (normalised.empty()) {
      fail(fmt::format("{} is empty", what));
      return false;
    }
    const auto [earlier, is_new] = seen_.emplace(normalised, number);
    if (!is_new && !abstains) {
      fail(fmt::format("{} repeats answer {}", what, earlier->second));
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
    // Digits with at most one point: no sign, exponent, per cent, hexadecimal, inf or nan.
    const bool plain = content.find_first_not_of("0123456789.") == std::string_view::npos &&
                       std::count(content.begin(), content.end(), '.') <= 1 &&
                       content.find_first_of("0123456789") != std::string_view::npos;
    if (!plain) {
      fail(fmt::format("{} is not a plain decimal", what));
      return false;
    }
    double value = 0;
    const auto read = std::from_chars(content.data(), content.data() + content.size(), value);
    if (read.ec == std::errc::result_out_of_range) {
      // Too many digits for a double: before the point a huge number, after it a tiny one.
      value = content[content.find_first_not_of('0')] == '.' ? 0 : 2;
    }
    if (value > 1) {
      fail(fmt::format("{} is above 1", what));
      return false;
    }
    set_.confidences.push_back(value);
    return true;
  }

  const Grammar& grammar_;
  std::string_view rest_;
  AnswerSet set_;
  std::map<std::string, int> seen_;  // normalised answer -> its number
};

}  // namespace

Grammar grammar_of(const RunConfig& config) {
  Grammar grammar;
  grammar.k = config.task.k;
  grammar.confidences = config.reward.kind == "rlcr";
  grammar.abstention = config.reward.abstention;
  grammar.programs = config.task.name == "mbpp" || (config.task.name == "jsonl" && config.task.programs);
  return grammar;
}

AnswerSet parse(const Grammar& grammar, std::string_view completion, bool ended) {
  return Parser(grammar, completion).run(ended);
}

std::string render(const Grammar& grammar, const AnswerSet& set) {
  const auto count = static_cast<std::size_t>(grammar.k);
  SETRL_CHECK(set.answers.size() == count, "{} answers for a grammar of {}", set.answers.size(), count);
  SETRL_CHECK(!grammar.confidences || set.confidences.size() == count, "{} confidences for a grammar of {}",
              set.confidences.size(), count);
  std::vector<std::string> confidences;
  if (grammar.confidences) {
    for (const double q : set.confidences) confidences.push_back(fmt::format("{:.2f}", q));
  }
  return tagged(grammar, set.think, set.answers, confidences);
}

std::string last_tag(const Grammar& grammar) {
  return tag(grammar, grammar.confidences ? "confidence" : "answer", grammar.k, true);
}

std::string instructions(const Grammar& grammar) {
  std::string text = grammar.k == 1 ? "Think inside <think></think>. Then write one answer. "
                                    : fmt::format(
                                          "Think about each candidate inside <think></think>. Then write "
                                          "exactly {} different answers, most likely first. ",
                                          grammar.k);
  text += grammar.programs ? "An answer is a whole Python program that defines the function: tests decide. "
                           : "An answer is only the minimal answer string: exact match decides. ";
  if (grammar.confidences) {
    text += grammar.k == 1 ? "The confidence is the probability (0 to 1) that it is correct. "
                           : "A confidence is the probability (0 to 1) that its answer is correct, judged "
                             "independently. ";
  }
  if (grammar.abstention) text += "Write none as an answer where no candidate is worth the risk of being wrong. ";
  if (grammar.analysis) text += "An <analysis></analysis> block may follow the think block or end the text. ";
  const std::vector<std::string> dots(static_cast<std::size_t>(grammar.k), "...");
  return text + "Format:\n" + tagged(grammar, "...", dots, grammar.confidences ? dots : std::vector<std::string>{});
}

}  // namespace setrl::text
