// Byte-level BPE, equal id for id to the `tokenizers` package.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace setrl::text {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Text to ids. Special tokens written in the text are recognised (as `tokenizers` does). Invalid UTF-8: each maximal
  // invalid sequence counts as U+FFFD. No beginning-of-text token is added.
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;

  // Ids to text; special tokens are left out unless asked for. Bytes that are not UTF-8 come out as U+FFFD.
  virtual std::string decode(const std::vector<std::int32_t>& ids, bool with_special = false) const = 0;

  // The bytes of one id (special tokens: their text). Throws BugError on an id out of range.
  virtual std::string_view bytes_of(std::int32_t id) const = 0;

  virtual std::int64_t vocabulary_size() const = 0;              // ids run from 0 to this - 1
  virtual std::int32_t id_of(std::string_view token) const = 0;  // -1 where there is none
  virtual bool is_special(std::int32_t id) const = 0;

  // Files for a Hugging Face folder: tokenizer.json and tokenizer_config.json.
  virtual std::string to_tokenizer_json() const = 0;
  virtual std::string to_tokenizer_config_json() const = 0;
};

// From a Hugging Face folder, a tokenizer.json file, or a .gguf file. Throws UserError naming the file.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);

// From the texts of tokenizer.json and tokenizer_config.json ("" where there is none); `where` is named by errors.
std::unique_ptr<Tokenizer> parse_tokenizer(const std::string& tokenizer_json, const std::string& config_json,
                                           const std::string& where);

// Trains a byte-level BPE of at most `vocabulary` ids on `corpus`, with ChatML's special tokens. Deterministic.
std::unique_ptr<Tokenizer> train_tokenizer(const std::vector<std::string>& corpus, std::int64_t vocabulary);

// Turns ids into text as they come: holds back the bytes of an unfinished UTF-8 character.
class StreamingDecoder {
 public:
  explicit StreamingDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(std::int32_t id);  // text that is complete now
  std::string finish();               // the rest; an unfinished character becomes U+FFFD

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

}  // namespace setrl::text
