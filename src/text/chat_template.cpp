#include "text/chat_template.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "text/gguf_vocabulary.h"
#include "text/unicode.h"

namespace setrl::text {

namespace {

namespace fs = std::filesystem;

std::string read_if_there(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

// The Jinja source that comes with the model, or "".
std::string template_source(const std::string& model_path) {
  if (fs::path(model_path).extension() == ".gguf") return read_gguf_vocabulary(model_path).chat_template;
  if (!fs::is_directory(model_path)) return "";
  std::string source = read_if_there(fs::path(model_path) / "chat_template.jinja");
  if (!source.empty()) return source;
  const auto config =
      nlohmann::json::parse(read_if_there(fs::path(model_path) / "tokenizer_config.json"), nullptr, false);
  if (!config.is_object() || !config.contains("chat_template") || !config.at("chat_template").is_string()) return "";
  return config.at("chat_template").get<std::string>();
}

std::string chatml(const std::vector<Message>& messages, bool add_generation_prompt,
                   const std::string& default_system) {
  std::string text;
  if (!default_system.empty() && (messages.empty() || messages[0].role != "system")) {
    text = "<|im_start|>system\n" + default_system + "<|im_end|>\n";
  }
  for (const auto& message : messages) text += "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n";
  if (add_generation_prompt) text += "<|im_start|>assistant\n";
  return text;
}

// As Jinja's trim: white space at both ends.
std::string trim(const std::string& text) {
  std::size_t begin = text.size(), end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    if (is_white_space(next_code_point(text, at))) continue;
    begin = std::min(begin, start);
    end = at;
  }
  return begin < end ? text.substr(begin, end - begin) : "";
}

}  // namespace

ChatFormat choose_chat_format(const std::string& name, const std::string& model_path, const Tokenizer& tokenizer) {
  if (name == "chatml") return ChatFormat::chatml;
  if (name == "smollm2") return ChatFormat::smollm2;
  if (name == "qwen") return ChatFormat::qwen;
  if (name == "llama3") return ChatFormat::llama3;
  if (name != "auto") {
    throw_user_error("model.chat_template: '{}' is not one of auto, chatml, smollm2, qwen, llama3", name);
  }
  const std::string source = template_source(model_path);
  const auto mentions = [&](const char* text) { return source.find(text) != std::string::npos; };
  if (mentions("You are a helpful AI assistant named SmolLM")) return ChatFormat::smollm2;
  if (mentions("You are Qwen, created by Alibaba Cloud")) return ChatFormat::qwen;
  if (mentions("<|start_header_id|>")) return ChatFormat::llama3;
  if (tokenizer.id_of("<|start_header_id|>") >= 0 && tokenizer.id_of("<|eot_id|>") >= 0) return ChatFormat::llama3;
  if (tokenizer.id_of("<|im_start|>") >= 0 && tokenizer.id_of("<|im_end|>") >= 0) return ChatFormat::chatml;
  throw_user_error("cannot tell the chat format of '{}'; set model.chat_template to chatml, smollm2, qwen or llama3",
                   model_path);
}

std::string apply_chat_template(ChatFormat format, const std::vector<Message>& messages, bool add_generation_prompt) {
  switch (format) {
    case ChatFormat::chatml: return chatml(messages, add_generation_prompt, "");
    case ChatFormat::smollm2:
      return chatml(messages, add_generation_prompt,
                    "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
    case ChatFormat::qwen:
      return chatml(messages, add_generation_prompt,
                    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
    case ChatFormat::llama3: break;
  }
  std::string text = "<|begin_of_text|>";
  const auto header = [](const std::string& role) { return "<|start_header_id|>" + role + "<|end_header_id|>\n\n"; };
  for (const auto& message : messages) text += header(message.role) + trim(message.content) + "<|eot_id|>";
  if (add_generation_prompt) text += header("assistant");
  return text;
}

std::vector<std::int32_t> end_of_turn_ids(ChatFormat format, const Tokenizer& tokenizer) {
  const bool llama = format == ChatFormat::llama3;
  std::vector<std::int32_t> ids;
  for (const char* token : {llama ? "<|eot_id|>" : "<|im_end|>", llama ? "<|end_of_text|>" : "<|endoftext|>"}) {
    if (const std::int32_t id = tokenizer.id_of(token); id >= 0) ids.push_back(id);
  }
  if (ids.empty())
    throw_user_error("the tokenizer has no end-of-turn token such as {}", llama ? "<|eot_id|>" : "<|im_end|>");
  return ids;
}

}  // namespace setrl::text
