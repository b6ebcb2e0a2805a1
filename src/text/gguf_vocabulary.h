// The tokenizer part of a GGUF file's metadata.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl::text {

struct GgufVocabulary {
  std::string pre;                  // name of the split pattern: "smollm", "qwen2", "llama-bpe", ...
  std::vector<std::string> tokens;  // in the byte-level alphabet
  std::vector<std::int32_t> types;  // 1 normal, 3 control, 4 user defined
  std::vector<std::string> merges;  // "a b"
  std::string chat_template;
};

// Throws UserError naming the file where it is cut off, no GGUF file, or has no byte-level BPE ("gpt2") tokenizer.
GgufVocabulary read_gguf_vocabulary(const std::string& path);

// The same tokenizer as a tokenizer.json text.
std::string to_tokenizer_json(const GgufVocabulary& vocabulary, const std::string& path);

}  // namespace setrl::text
