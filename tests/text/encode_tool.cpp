// Encodes texts for the comparison with other implementations.
//   encode_tool TOKENIZER ids       < length-prefixed texts   > one line a text: ids, tab, decoded text in hex
//   encode_tool TOKENIZER json                                > tokenizer.json
//   encode_tool TOKENIZER chat FORMAT < JSON lines of messages > one JSON string a line, with generation prompt
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace {

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

void encode_all(const setrl::text::Tokenizer& tokenizer) {
  const std::string input(std::istreambuf_iterator<char>(std::cin), {});
  for (std::size_t at = 0; at + 4 <= input.size();) {
    std::uint32_t length = 0;
    for (int i = 3; i >= 0; --i)
      length = length << 8 | static_cast<unsigned char>(input[at + static_cast<std::size_t>(i)]);
    const auto ids = tokenizer.encode(std::string_view(input).substr(at + 4, length));
    setrl::text::StreamingDecoder decoder(tokenizer);
    std::string streamed;
    for (const auto id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    fmt::print("{}\t{}\t{}\n", fmt::join(ids, " "), hex(tokenizer.decode(ids)), hex(streamed));
    at += 4 + length;
  }
}

void apply_templates(const setrl::text::Tokenizer& tokenizer, const std::string& format, const std::string& path) {
  const auto chosen = setrl::text::choose_chat_format(format, path, tokenizer);
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<setrl::Message> messages;
    for (const auto& message : nlohmann::json::parse(line))
      messages.push_back({message.at("role"), message.at("content")});
    fmt::print("{}\n", nlohmann::json(setrl::text::apply_chat_template(chosen, messages, true)).dump());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path = argv[1], what = argv[2];
  const auto tokenizer = setrl::text::load_tokenizer(path);
  if (what == "ids")
    encode_all(*tokenizer);
  else if (what == "json")
    fmt::print("{}", tokenizer->to_tokenizer_json());
  else
    apply_templates(*tokenizer, argc > 3 ? argv[3] : "auto", path);
  return 0;
}
