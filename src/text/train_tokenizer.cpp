// A small trainer of byte-level BPE, for models that are made on the spot.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/split_pattern.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace setrl::text {

namespace {

using Pair = std::pair<std::int32_t, std::int32_t>;

struct Word {
  std::vector<std::int32_t> symbols;
  std::int64_t count = 0;
};

std::vector<Word> count_words(const std::vector<std::string>& corpus, const std::vector<std::int32_t>& byte_ids) {
  const SplitPattern pattern(kGpt2Pattern, "tokenizer training");
  std::map<std::string, std::int64_t> counts;
  for (const auto& text : corpus) {
    pattern.split(valid_utf8(text), [&](std::string_view part, bool) { ++counts[std::string(part)]; });
  }
  std::vector<Word> words;
  for (const auto& [text, count] : counts) {
    Word word;
    word.count = count;
    for (const char byte : text) word.symbols.push_back(byte_ids[static_cast<unsigned char>(byte)]);
    words.push_back(std::move(word));
  }
  return words;
}

// The most frequent pair, the smallest ids on a tie; count 0 where there is none.
std::pair<Pair, std::int64_t> best_pair(const std::vector<Word>& words) {
  std::map<Pair, std::int64_t> counts;
  for (const auto& word : words) {
    for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i)
      counts[{word.symbols[i], word.symbols[i + 1]}] += word.count;
  }
  std::pair<Pair, std::int64_t> best{{0, 0}, 0};
  for (const auto& [pair, count] : counts) {
    if (count > best.second) best = {pair, count};
  }
  return best;
}

void merge(Word& word, const Pair& pair, std::int32_t merged) {
  std::vector<std::int32_t> symbols;
  for (std::size_t i = 0; i < word.symbols.size(); ++i) {
    const bool here =
        i + 1 < word.symbols.size() && word.symbols[i] == pair.first && word.symbols[i + 1] == pair.second;
    symbols.push_back(here ? merged : word.symbols[i]);
    if (here) ++i;
  }
  word.symbols = std::move(symbols);
}

}  // namespace

std::unique_ptr<Tokenizer> train_tokenizer(const std::vector<std::string>& corpus, std::int64_t vocabulary) {
  const std::vector<std::string> special = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<std::string> tokens = special;  // bytes, special tokens as text
  std::vector<std::int32_t> byte_ids;
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids.push_back(static_cast<std::int32_t>(tokens.size()));
    tokens.emplace_back(1, static_cast<char>(byte));
  }
  SETRL_CHECK(vocabulary >= static_cast<std::int64_t>(tokens.size()), "a vocabulary of {} is below the {} basic tokens",
              vocabulary, tokens.size());
  auto words = count_words(corpus, byte_ids);
  nlohmann::json merges = nlohmann::json::array();
  while (static_cast<std::int64_t>(tokens.size()) < vocabulary) {
    const auto [pair, count] = best_pair(words);
    if (count < 2) break;
    const std::string left = tokens[static_cast<std::size_t>(pair.first)],
                      right = tokens[static_cast<std::size_t>(pair.second)];
    const auto known = std::find(tokens.begin(), tokens.end(), left + right);
    const auto merged = static_cast<std::int32_t>(known - tokens.begin());
    if (known == tokens.end()) tokens.push_back(left + right);
    merges.push_back({to_byte_alphabet(left), to_byte_alphabet(right)});
    for (auto& word : words) merge(word, pair, merged);
  }
  nlohmann::json words_by_text = nlohmann::json::object(), added = nlohmann::json::array();
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const bool is_special = id < special.size();
    words_by_text[is_special ? tokens[id] : to_byte_alphabet(tokens[id])] = id;
    if (is_special) {
      added.push_back({{"id", id},
                       {"content", tokens[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", true}});
    }
  }
  const nlohmann::json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const nlohmann::json document = {{"version", "1.0"},
                                   {"truncation", nullptr},
                                   {"padding", nullptr},
                                   {"added_tokens", added},
                                   {"normalizer", nullptr},
                                   {"pre_tokenizer", byte_level},
                                   {"post_processor", nullptr},
                                   {"decoder", byte_level},
                                   {"model",
                                    {{"type", "BPE"},
                                     {"dropout", nullptr},
                                     {"unk_token", nullptr},
                                     {"continuing_subword_prefix", ""},
                                     {"end_of_word_suffix", ""},
                                     {"fuse_unk", false},
                                     {"byte_fallback", false},
                                     {"ignore_merges", false},
                                     {"vocab", words_by_text},
                                     {"merges", merges}}}};
  return parse_tokenizer(document.dump(), "", "trained tokenizer");
}

}  // namespace setrl::text
