#include "text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "text/bpe_tokenizer.h"
#include "text/gguf_vocabulary.h"
#include "text/unicode.h"

namespace setrl::text {

namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_user_error("cannot read '{}'", path.string());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// tokenizer_config.json of a GGUF file: its chat template goes along.
std::string gguf_config(const GgufVocabulary& vocabulary) {
  if (vocabulary.chat_template.empty()) return "";
  return nlohmann::ordered_json{{"tokenizer_class", "PreTrainedTokenizerFast"},
                                {"clean_up_tokenization_spaces", false},
                                {"chat_template", valid_utf8(vocabulary.chat_template)}}
             .dump(2) +
         "\n";
}

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer(const std::string& tokenizer_json, const std::string& config_json,
                                           const std::string& where) {
  return std::make_unique<BpeTokenizer>(tokenizer_json, config_json, where);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  if (fs::path(path).extension() == ".gguf") {
    const auto vocabulary = read_gguf_vocabulary(path);
    try {
      return parse_tokenizer(to_tokenizer_json(vocabulary, path), gguf_config(vocabulary), path);
    } catch (const nlohmann::json::exception& failure) {
      throw_user_error("{}: the tokenizer's tokens are corrupted: {}", path, failure.what());
    }
  }
  const fs::path file = fs::is_directory(path) ? fs::path(path) / "tokenizer.json" : fs::path(path);
  if (!fs::exists(file)) throw_user_error("there is no tokenizer '{}'", file.string());
  const fs::path config = file.parent_path() / "tokenizer_config.json";
  return parse_tokenizer(read_text(file), fs::exists(config) ? read_text(config) : "", file.string());
}

std::string StreamingDecoder::push(std::int32_t id) {
  pending_ += tokenizer_.bytes_of(id);
  const std::size_t held = unfinished_bytes(pending_);
  const std::string text = valid_utf8(std::string_view(pending_).substr(0, pending_.size() - held));
  pending_.erase(0, pending_.size() - held);
  return text;
}

std::string StreamingDecoder::finish() {
  const std::string text = valid_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace setrl::text
