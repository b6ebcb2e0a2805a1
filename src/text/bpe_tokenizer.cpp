#include "text/bpe_tokenizer.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/unicode.h"

namespace setrl::text {

namespace {

using Json = nlohmann::json;
constexpr std::size_t kCacheWords = 1 << 16;
constexpr std::size_t kCachedWordBytes = 64;  // longer words hardly come again

bool wants_nfc(const Json& normalizer, const std::string& where) {
  if (normalizer.is_null()) return false;
  const auto type = normalizer.at("type").get<std::string>();
  if (type == "NFC") return true;
  if (type == "Sequence") {
    bool nfc = false;
    for (const auto& part : normalizer.at("normalizers")) nfc = wants_nfc(part, where) || nfc;
    return nfc;
  }
  throw_user_error("{}: the normalizer '{}' is not supported (NFC)", where, type);
}

std::vector<AddedToken> read_added_tokens(const Json& document) {
  std::vector<AddedToken> tokens;
  if (!document.contains("added_tokens") || document.at("added_tokens").is_null()) return tokens;
  for (const auto& entry : document.at("added_tokens")) {
    AddedToken token;
    token.id = entry.at("id").get<std::int32_t>();
    token.content = entry.at("content").get<std::string>();
    token.special = entry.value("special", false);
    token.normalized = entry.value("normalized", !token.special);
    token.single_word = entry.value("single_word", false);
    token.lstrip = entry.value("lstrip", false);
    token.rstrip = entry.value("rstrip", false);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// "a b" or ["a", "b"].
std::pair<std::string, std::string> read_merge(const Json& merge) {
  if (merge.is_array()) return {merge.at(0).get<std::string>(), merge.at(1).get<std::string>()};
  const auto text = merge.get<std::string>();
  const auto space = text.find(' ');
  return {text.substr(0, space), space == std::string::npos ? "" : text.substr(space + 1)};
}

std::vector<AddedToken> with(const std::vector<AddedToken>& tokens, bool normalized, bool nfc) {
  std::vector<AddedToken> chosen;
  for (auto token : tokens) {
    if (token.normalized != normalized) continue;
    if (normalized && nfc) token.content = to_nfc(token.content);
    chosen.push_back(std::move(token));
  }
  return chosen;
}

}  // namespace

struct BpeTokenizer::Parts {
  bool nfc;
  AddedTokenMatcher raw, normalized;
  PreTokenizer pre_tokenizer;
  BytePairEncoder encoder;
};

BpeTokenizer::BpeTokenizer(std::string json, std::string config, const std::string& where)
    : json_(std::move(json)), config_(std::move(config)) {
  const Json document = Json::parse(json_, nullptr, false);
  if (document.is_discarded() || !document.is_object()) throw_user_error("{}: not a JSON object", where);
  try {
    const Json& model = document.at("model");
    if (model.value("type", "BPE") != "BPE") throw_user_error("{}: the model type is not BPE", where);
    if (model.value("byte_fallback", false))
      throw_user_error("{}: byte_fallback is not supported (byte-level BPE)", where);
    const Json& words = model.at("vocab");
    const auto added = read_added_tokens(document);
    std::int64_t size = static_cast<std::int64_t>(words.size());
    for (const auto& token : added) size = std::max<std::int64_t>(size, token.id + 1);
    if (size > 10'000'000) throw_user_error("{}: {} tokens are too many", where, size);
    tokens_.resize(static_cast<std::size_t>(size));
    std::unordered_map<std::string, std::int32_t> vocabulary;
    vocabulary.reserve(words.size());
    for (const auto& [word, value] : words.items()) {
      const auto id = value.get<std::int32_t>();
      if (id < 0 || id >= size) throw_user_error("{}: the token '{}' has the id {} of {}", where, word, id, size);
      ids_by_text_[word] = id;
      std::string bytes;
      if (!from_byte_alphabet(word, bytes))
        bytes = word;  // special tokens are kept as text
      else
        vocabulary.emplace(bytes, id);
      tokens_[static_cast<std::size_t>(id)].bytes = std::move(bytes);
    }
    for (const auto& token : added) {
      if (token.id < 0) throw_user_error("{}: the added token '{}' has a negative id", where, token.content);
      ids_by_text_[token.content] = token.id;
      tokens_[static_cast<std::size_t>(token.id)] = {token.content, token.special};
    }
    std::vector<BytePairEncoder::Merge> merges;
    merges.reserve(model.at("merges").size());
    for (const auto& entry : model.at("merges")) {
      const auto [left, right] = read_merge(entry);
      const auto l = ids_by_text_.find(left), r = ids_by_text_.find(right), both = ids_by_text_.find(left + right);
      if (l == ids_by_text_.end() || r == ids_by_text_.end() || both == ids_by_text_.end()) {
        throw_user_error("{}: the merge '{} {}' uses a token that is not in the vocabulary", where, left, right);
      }
      merges.push_back({l->second, r->second, both->second});
    }
    const bool nfc = wants_nfc(document.value("normalizer", Json()), where);
    parts_ = std::make_unique<Parts>(
        Parts{nfc, AddedTokenMatcher(with(added, false, nfc)), AddedTokenMatcher(with(added, true, nfc)),
              PreTokenizer(document.value("pre_tokenizer", Json()), where),
              BytePairEncoder(std::move(vocabulary), merges, model.value("ignore_merges", false))});
  } catch (const Json::exception& failure) {
    throw_user_error("{}: not a tokenizer.json of the expected form: {}", where, failure.what());
  }
}

BpeTokenizer::~BpeTokenizer() = default;

void BpeTokenizer::encode_words(const std::string& text, std::vector<std::int32_t>& ids) const {
  for (const auto& word : parts_->pre_tokenizer.words(text)) {
    const bool cached = word.size() <= kCachedWordBytes;
    if (cached) {
      const std::lock_guard lock(cache_mutex_);
      if (const auto found = cache_.find(word); found != cache_.end()) {
        ids.insert(ids.end(), found->second.begin(), found->second.end());
        continue;
      }
    }
    const std::size_t begin = ids.size();
    parts_->encoder.encode(word, ids);
    if (!cached) continue;
    const std::lock_guard lock(cache_mutex_);
    if (cache_.size() >= kCacheWords) cache_.clear();
    cache_.emplace(word, std::vector<std::int32_t>(ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.end()));
  }
}

std::vector<std::int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  parts_->raw.split(valid_utf8(text), [&](std::string_view part, std::int32_t id) {
    if (id >= 0) {
      ids.push_back(id);
      return;
    }
    const std::string normalised = parts_->nfc ? to_nfc(std::string(part)) : std::string(part);
    parts_->normalized.split(normalised, [&](std::string_view inner, std::int32_t inner_id) {
      if (inner_id >= 0)
        ids.push_back(inner_id);
      else
        encode_words(std::string(inner), ids);
    });
  });
  return ids;
}

std::string BpeTokenizer::decode(const std::vector<std::int32_t>& ids, bool with_special) const {
  std::string bytes;
  for (const auto id : ids) {
    if (with_special || !is_special(id)) bytes += bytes_of(id);
  }
  return valid_utf8(bytes);
}

std::string_view BpeTokenizer::bytes_of(std::int32_t id) const {
  SETRL_CHECK(id >= 0 && id < vocabulary_size(), "token {} of {}", id, vocabulary_size());
  return tokens_[static_cast<std::size_t>(id)].bytes;
}

std::int32_t BpeTokenizer::id_of(std::string_view token) const {
  const auto found = ids_by_text_.find(std::string(token));
  return found == ids_by_text_.end() ? -1 : found->second;
}

bool BpeTokenizer::is_special(std::int32_t id) const {
  SETRL_CHECK(id >= 0 && id < vocabulary_size(), "token {} of {}", id, vocabulary_size());
  return tokens_[static_cast<std::size_t>(id)].special;
}

std::string BpeTokenizer::to_tokenizer_config_json() const {
  if (!config_.empty()) return config_;
  nlohmann::ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                   {"clean_up_tokenization_spaces", false}};
  if (id_of("<|im_end|>") >= 0)
    config["eos_token"] = "<|im_end|>";
  else if (id_of("<|eot_id|>") >= 0)
    config["eos_token"] = "<|eot_id|>";
  if (id_of("<|endoftext|>") >= 0) config["pad_token"] = "<|endoftext|>";
  return config.dump(2) + "\n";
}

}  // namespace setrl::text
