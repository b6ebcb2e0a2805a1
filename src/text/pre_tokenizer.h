// The pre-tokenizer of a tokenizer.json: cuts a text into the words that BPE works on.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/split_pattern.h"

namespace setrl::text {

class PreTokenizer {
 public:
  // `description`: the "pre_tokenizer" object (Sequence, ByteLevel, Split, Digits). Throws UserError naming `where` and
  // the type that is not supported.
  PreTokenizer(const nlohmann::json& description, const std::string& where);

  // Words of `text` (valid UTF-8), in order.
  std::vector<std::string> words(const std::string& text) const;

 private:
  enum class Behavior { isolated, removed, merged_with_previous, merged_with_next };
  struct Stage {
    SplitPattern pattern;
    Behavior behavior = Behavior::isolated;
    bool invert = false;
    bool splits = true;
    bool add_prefix_space = false;
  };
  void add(const nlohmann::json& description, const std::string& where);
  static void apply(const Stage& stage, const std::string& word, std::vector<std::string>& out);

  std::vector<Stage> stages_;
};

}  // namespace setrl::text
