// The tokenizer of a tokenizer.json with a byte-level BPE model.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/added_tokens.h"
#include "text/byte_pair_encoder.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace setrl::text {

// Thread-safe: encoding keeps a locked cache of words.
class BpeTokenizer : public Tokenizer {
 public:
  // `json`: text of tokenizer.json; `config`: text of tokenizer_config.json or "" (one is made then). Throws UserError
  // with `where`.
  BpeTokenizer(std::string json, std::string config, const std::string& where);
  ~BpeTokenizer() override;

  std::vector<std::int32_t> encode(std::string_view text) const override;
  std::string decode(const std::vector<std::int32_t>& ids, bool with_special) const override;
  std::string_view bytes_of(std::int32_t id) const override;
  std::int64_t vocabulary_size() const override { return static_cast<std::int64_t>(tokens_.size()); }
  std::int32_t id_of(std::string_view token) const override;
  bool is_special(std::int32_t id) const override;
  std::string to_tokenizer_json() const override { return json_; }
  std::string to_tokenizer_config_json() const override;

 private:
  struct Token {
    std::string bytes;
    bool special = false;
  };
  struct Parts;  // what is built from the JSON document

  void encode_words(const std::string& text, std::vector<std::int32_t>& ids) const;

  std::string json_, config_;
  std::vector<Token> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_by_text_;  // as written in the JSON, and added tokens
  std::unique_ptr<Parts> parts_;
  mutable std::mutex cache_mutex_;
  mutable std::unordered_map<std::string, std::vector<std::int32_t>> cache_;
};

}  // namespace setrl::text
