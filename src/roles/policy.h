// Everything that model.path stands for: weights, tokenizer, chat format.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/run_config.h"
#include "model/low_rank.h"
#include "model/weight_source.h"
#include "records/problem.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace setrl::roles {

// The adapters of a checkpoint (learn.lora_rank), by name of model/low_rank.h.
struct StoredAdapters {
  model::LowRankSpec low_rank;
  std::string base;  // model.path of their run
  std::map<std::string, std::vector<float>> tensors;
};

struct Policy {
  std::unique_ptr<model::WeightSource> weights;  // adapters merged in
  std::shared_ptr<const StoredAdapters> adapters;
  std::unique_ptr<text::Tokenizer> tokenizer;
  text::ChatFormat format = text::ChatFormat::chatml;
  std::vector<std::int32_t> stop_ids;  // end-of-turn ids; the first is the one to train with

  // Messages to ids, with the assistant's turn opened. Throws UserError naming the problem where it is longer than
  // `max_tokens`.
  Prompt prompt(const Problem& problem, std::int64_t max_tokens) const;

  // A completion's text without its end-of-turn token.
  std::string text_of(const std::vector<std::int32_t>& tokens) const;
};

// Opens a Hugging Face folder, a GGUF file, a run directory, a checkpoint folder, or makes the random model.
Policy open_policy(const RunConfig& config);

// Files of the policy that a checkpoint or export carries: tokenizer.json, tokenizer_config.json.
std::vector<std::pair<std::string, std::string>> policy_files(const Policy& policy);

std::string chat_format_name(text::ChatFormat format);

}  // namespace setrl::roles
