#include "text/pre_tokenizer.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace setrl::text {

namespace {

// A literal text as a pattern.
std::string quoted(const std::string& text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view(R"(\^$.[]|()?*+{}-)").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace

PreTokenizer::PreTokenizer(const nlohmann::json& description, const std::string& where) {
  if (!description.is_null()) add(description, where);
}

void PreTokenizer::add(const nlohmann::json& description, const std::string& where) {
  const auto type = description.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const auto& part : description.at("pretokenizers")) add(part, where);
  } else if (type == "ByteLevel") {
    Stage stage{SplitPattern(kGpt2Pattern, where)};
    stage.splits = description.value("use_regex", true);
    stage.add_prefix_space = description.value("add_prefix_space", true);
    stages_.push_back(std::move(stage));
  } else if (type == "Digits") {
    stages_.push_back({SplitPattern(description.value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)", where)});
  } else if (type == "Split") {
    const auto& pattern = description.at("pattern");
    Stage stage{SplitPattern(pattern.contains("Regex") ? pattern.at("Regex").get<std::string>()
                                                       : quoted(pattern.at("String").get<std::string>()),
                             where)};
    const auto behavior = description.at("behavior").get<std::string>();
    if (behavior == "Isolated")
      stage.behavior = Behavior::isolated;
    else if (behavior == "Removed")
      stage.behavior = Behavior::removed;
    else if (behavior == "MergedWithPrevious")
      stage.behavior = Behavior::merged_with_previous;
    else if (behavior == "MergedWithNext")
      stage.behavior = Behavior::merged_with_next;
    else
      throw_user_error("{}: a Split of behavior '{}' is not supported", where, behavior);
    stage.invert = description.value("invert", false);
    stages_.push_back(std::move(stage));
  } else {
    throw_user_error("{}: the pre-tokenizer '{}' is not supported (Sequence, ByteLevel, Split, Digits)", where, type);
  }
}

void PreTokenizer::apply(const Stage& stage, const std::string& word, std::vector<std::string>& out) {
  const std::string text = stage.add_prefix_space && !word.empty() && word[0] != ' ' ? " " + word : word;
  if (!stage.splits) {
    out.push_back(text);
    return;
  }
  bool join_next = false, first = true;
  stage.pattern.split(text, [&](std::string_view part, bool matched) {
    const bool delimiter = matched != stage.invert;
    if (delimiter && stage.behavior == Behavior::removed) return;
    if (!first && ((delimiter && stage.behavior == Behavior::merged_with_previous) || join_next))
      out.back() += part;
    else
      out.emplace_back(part);
    join_next = delimiter && stage.behavior == Behavior::merged_with_next;
    first = false;
  });
}

std::vector<std::string> PreTokenizer::words(const std::string& text) const {
  std::vector<std::string> current{text}, next;
  for (const auto& stage : stages_) {
    next.clear();
    for (const auto& word : current) apply(stage, word, next);
    current.swap(next);
  }
  return current;
}

}  // namespace setrl::text
