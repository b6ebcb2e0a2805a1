// Messages -> prompt text, equal to transformers' apply_chat_template of the families.
#pragma once

#include <string>
#include <vector>

#include "records/problem.h"
#include "text/tokenizer.h"

namespace setrl::text {

enum class ChatFormat { chatml, smollm2, qwen, llama3 };

// `name`: auto | chatml | smollm2 | qwen | llama3. auto looks at the model folder's or GGUF file's chat template and
// special tokens. Throws UserError where it cannot tell.
ChatFormat choose_chat_format(const std::string& name, const std::string& model_path, const Tokenizer& tokenizer);

// The conversation as text; `add_generation_prompt` opens the assistant's turn.
std::string apply_chat_template(ChatFormat format, const std::vector<Message>& messages, bool add_generation_prompt);

// Ids that end the assistant's turn (such as <|im_end|>), first the one to train with.
std::vector<std::int32_t> end_of_turn_ids(ChatFormat format, const Tokenizer& tokenizer);

}  // namespace setrl::text
