#include "text/gguf_vocabulary.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/split_pattern.h"

namespace setrl::text {

namespace {

enum MetadataType : std::uint32_t { kInt32 = 5, kString = 8, kArray = 9 };

// Reads the header piece by piece: weights may be many gigabytes.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(path, std::ios::binary) {
    if (!file_) throw_user_error("cannot read '{}'", path);
    file_.seekg(0, std::ios::end);
    size_ = static_cast<std::uint64_t>(file_.tellg());
    file_.seekg(0);
  }

  template <typename T>
  T take() {
    T value{};
    read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  }
  std::string text() {
    const auto length = take<std::uint64_t>();
    check(length);
    std::string result(length, '\0');
    read(result.data(), length);
    return result;
  }
  void skip(std::uint64_t bytes) {
    check(bytes);
    file_.seekg(static_cast<std::streamoff>(bytes), std::ios::cur);
    at_ += bytes;
  }
  // A count of elements of at least `bytes` bytes each must fit into the rest of the file.
  std::uint64_t count(std::uint64_t bytes) {
    const auto value = take<std::uint64_t>();
    if (value > (size_ - at_) / bytes) cut_off();
    return value;
  }

 private:
  void check(std::uint64_t bytes) const {
    if (bytes > size_ - at_) cut_off();
  }
  void read(char* to, std::uint64_t bytes) {
    check(bytes);
    file_.read(to, static_cast<std::streamsize>(bytes));
    if (!file_) cut_off();
    at_ += bytes;
  }
  [[noreturn]] void cut_off() const {
    throw_user_error("{}: the GGUF header is cut off or corrupted at byte {}", path_, at_);
  }

  std::string path_;
  std::ifstream file_;
  std::uint64_t size_ = 0, at_ = 0;
};

std::uint64_t scalar_size(std::uint32_t type) {
  constexpr std::uint64_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < std::size(kSizes) ? kSizes[type] : 0;
}

std::vector<std::string> read_texts(Reader& reader) {
  std::vector<std::string> texts(reader.count(8));
  for (auto& text : texts) text = reader.text();
  return texts;
}

void skip_value(Reader& reader, std::uint32_t type, const std::string& path) {
  if (type == kString) {
    reader.text();
    return;
  }
  if (type == kArray) {
    const auto element = reader.take<std::uint32_t>();
    if (element == kString) {
      read_texts(reader);
      return;
    }
    if (scalar_size(element) == 0) throw_user_error("{}: unknown metadata type {}", path, element);
    reader.skip(reader.count(scalar_size(element)) * scalar_size(element));
    return;
  }
  if (scalar_size(type) == 0) throw_user_error("{}: unknown metadata type {}", path, type);
  reader.skip(scalar_size(type));
}

std::vector<std::int32_t> read_types(Reader& reader) {
  std::vector<std::int32_t> types(reader.count(4));
  for (auto& type : types) type = reader.take<std::int32_t>();
  return types;
}

// The pre-tokenizer that llama.cpp's name of a split pattern stands for.
nlohmann::json pre_tokenizer(const std::string& pre, const std::string& path) {
  using Json = nlohmann::json;
  const auto split = [](const char* pattern) {
    return Json{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  };
  const auto byte_level = [](bool use_regex) {
    return Json{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
  };
  const auto sequence = [](Json first, Json second) {
    return Json{{"type", "Sequence"}, {"pretokenizers", Json::array({std::move(first), std::move(second)})}};
  };
  if (pre == "default" || pre == "gpt-2" || pre.empty()) return byte_level(true);
  if (pre == "smollm") return sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level(true));
  if (pre == "qwen2") return sequence(split(kQwenPattern), byte_level(false));
  if (pre == "llama-bpe" || pre == "llama3") return sequence(split(kLlama3Pattern), byte_level(false));
  throw_user_error("{}: the tokenizer's split pattern '{}' is not supported (default, smollm, qwen2, llama-bpe)", path,
                   pre);
}

}  // namespace

GgufVocabulary read_gguf_vocabulary(const std::string& path) {
  Reader reader(path);
  char magic[4] = {};
  for (char& c : magic) c = reader.take<char>();
  if (std::memcmp(magic, "GGUF", 4) != 0) throw_user_error("{}: not a GGUF file", path);
  const auto version = reader.take<std::uint32_t>();
  if (version != 2 && version != 3) throw_user_error("{}: GGUF version {} is not supported (2, 3)", path, version);
  reader.take<std::uint64_t>();  // tensors
  const auto entries = reader.take<std::uint64_t>();
  GgufVocabulary vocabulary;
  std::string model;
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::string key = reader.text();
    const auto type = reader.take<std::uint32_t>();
    if (type == kString && key == "tokenizer.ggml.model")
      model = reader.text();
    else if (type == kString && key == "tokenizer.ggml.pre")
      vocabulary.pre = reader.text();
    else if (type == kString && key == "tokenizer.chat_template")
      vocabulary.chat_template = reader.text();
    else if (type == kArray && key.rfind("tokenizer.ggml.", 0) == 0) {
      const auto element = reader.take<std::uint32_t>();
      if (element == kString && key == "tokenizer.ggml.tokens")
        vocabulary.tokens = read_texts(reader);
      else if (element == kString && key == "tokenizer.ggml.merges")
        vocabulary.merges = read_texts(reader);
      else if (element == kInt32 && key == "tokenizer.ggml.token_type")
        vocabulary.types = read_types(reader);
      else if (element == kString)
        read_texts(reader);
      else if (scalar_size(element) != 0)
        reader.skip(reader.count(scalar_size(element)) * scalar_size(element));
      else
        throw_user_error("{}: '{}' has an unknown element type {}", path, key, element);
    } else {
      skip_value(reader, type, path);
    }
  }
  if (model != "gpt2")
    throw_user_error("{}: the tokenizer model '{}' is not supported (byte-level BPE, gpt2)", path, model);
  if (vocabulary.tokens.empty() || vocabulary.types.size() != vocabulary.tokens.size()) {
    throw_user_error("{}: the tokenizer's tokens and token types do not fit together", path);
  }
  return vocabulary;
}

std::string to_tokenizer_json(const GgufVocabulary& vocabulary, const std::string& path) {
  using Json = nlohmann::json;
  Json words = Json::object(), added = Json::array();
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    if (!words.emplace(token, id).second) throw_user_error("{}: the token '{}' is there twice", path, token);
    const std::int32_t type = vocabulary.types[id];
    if (type != 3 && type != 4) continue;
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type == 3}});
  }
  const bool llama3 = vocabulary.pre == "llama-bpe" || vocabulary.pre == "llama3";
  Json normalizer = nullptr;
  if (vocabulary.pre == "qwen2") normalizer = {{"type", "NFC"}};
  const Json document = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", normalizer},
      {"pre_tokenizer", pre_tokenizer(vocabulary.pre, path)},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", ""},
        {"end_of_word_suffix", ""},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", llama3},
        {"vocab", words},
        {"merges", vocabulary.merges}}}};
  return document.dump();
}

}  // namespace setrl::text
