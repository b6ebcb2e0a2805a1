#include "roles/policy.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/options.h"
#include "roles/checkpoint_weights.h"
#include "store/checkpoint.h"
#include "tasks/demo_task.h"

namespace setrl::roles {

namespace {

namespace fs = std::filesystem;

// The folder of the checkpoint that `path` is or holds, or "" where it is something else.
std::string checkpoint_folder(const std::string& path) {
  if (!fs::is_directory(path)) return "";
  if (fs::exists(fs::path(path) / "index.h5")) return path;
  if (!fs::is_directory(fs::path(path) / "checkpoints")) return "";
  const std::string newest = store::find_newest_checkpoint(path);
  if (newest.empty()) throw_user_error("model.path: the run directory '{}' holds no whole checkpoint", path);
  return newest;
}

// A checkpoint of learn.lora_rank holds the adapters; the base is the model that the run started from.
void open_adapters(const std::string& folder, const store::CheckpointInfo& info, Policy& policy) {
  const RunConfig config = config::load_text(info.config, folder + "/index.h5");
  Policy base;
  try {
    base = open_policy(config);
  } catch (const UserError& failure) {
    throw_user_error("model.path: '{}' holds adapters for a base that cannot be opened: {}", folder, failure.what());
  }
  auto adapters = std::make_shared<StoredAdapters>();
  adapters->low_rank = model::low_rank_spec(config.learn);
  adapters->base = config.model.path;
  const CheckpointWeights stored(folder);
  for (const auto& adapter : model::adapter_table(stored.spec(), adapters->low_rank)) {
    auto& values = adapters->tensors[adapter.name];
    values.resize(static_cast<std::size_t>(adapter.elements()));
    stored.read(adapter.name, 0, adapter.elements(), values.data());
  }
  policy.adapters = adapters;
  policy.weights =
      model::merged_weights(std::move(base.weights), adapters->low_rank,
                            [adapters](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
                              const auto& values = adapters->tensors.at(name);
                              std::copy(values.begin() + begin, values.begin() + end, out);
                            });
}

Policy open_checkpoint(const std::string& folder) {
  Policy policy;
  const auto info = store::read_checkpoint_info(folder);
  const auto extra = nlohmann::json::parse(info.extra, nullptr, false);
  if (extra.is_discarded() || !extra.contains("chat_format")) {
    throw_user_error("model.path: checkpoint '{}' does not say its chat format", folder);
  }
  const std::map<std::string, std::string> files(info.files.begin(), info.files.end());
  if (files.count("tokenizer.json") == 0) throw_user_error("model.path: checkpoint '{}' holds no tokenizer", folder);
  const auto config = files.find("tokenizer_config.json");
  policy.tokenizer = text::parse_tokenizer(files.at("tokenizer.json"), config == files.end() ? "" : config->second,
                                           folder + "/tokenizer.json");
  policy.format = text::choose_chat_format(extra.at("chat_format").get<std::string>(), folder, *policy.tokenizer);
  const auto stored = store::list_tensors(folder);
  const bool low_rank = std::any_of(stored.begin(), stored.end(), [](const store::TensorEntry& tensor) {
    return tensor.name.find(".lora_A.") != std::string::npos;
  });
  if (low_rank) {
    open_adapters(folder, info, policy);
  } else {
    policy.weights = std::make_unique<CheckpointWeights>(folder);
  }
  return policy;
}

// A Llama with 64-wide heads and a tokenizer learned from the demo task's texts.
Policy make_random(const RunConfig& config) {
  Policy policy;
  policy.tokenizer = text::train_tokenizer(tasks::demo_corpus(config), config.model.random_vocabulary);
  policy.format = text::ChatFormat::chatml;
  model::ModelSpec spec;
  if (config.model.random_hidden % 32 != 0) {
    throw_user_error("model.random_hidden: {} is not a multiple of 32", config.model.random_hidden);
  }
  spec.vocabulary = policy.tokenizer->vocabulary_size();
  spec.hidden = config.model.random_hidden;
  spec.inner = spec.hidden * 3;
  spec.layers = config.model.random_layers;
  spec.heads = spec.hidden / 32;
  spec.kv_heads = spec.heads % 2 == 0 ? spec.heads / 2 : spec.heads;
  spec.head_size = 32;
  spec.max_positions = 2048;
  spec.tied_embeddings = true;
  policy.weights = model::random_weights(spec, config.run.seed);
  return policy;
}

}  // namespace

Prompt Policy::prompt(const Problem& problem, std::int64_t max_tokens) const {
  Prompt result;
  result.problem_id = problem.id;
  result.tokens = tokenizer->encode(text::apply_chat_template(format, problem.messages, true));
  const auto length = static_cast<std::int64_t>(result.tokens.size());
  if (length > max_tokens) {
    throw_user_error("problem {} has a prompt of {} tokens; task.max_prompt_tokens allows {}", problem.id, length,
                     max_tokens);
  }
  return result;
}

std::string Policy::text_of(const std::vector<std::int32_t>& tokens) const {
  const bool ended = !tokens.empty() && std::find(stop_ids.begin(), stop_ids.end(), tokens.back()) != stop_ids.end();
  return ended ? tokenizer->decode({tokens.begin(), tokens.end() - 1}) : tokenizer->decode(tokens);
}

Policy open_policy(const RunConfig& config) {
  const std::string& path = config.model.path;
  Policy policy;
  if (path == "random") {
    policy = make_random(config);
  } else if (!fs::exists(path)) {
    throw_user_error(
        "model.path: there is no '{}'; give a Hugging Face folder, a .gguf file, a run directory, or 'random'", path);
  } else if (const std::string folder = checkpoint_folder(path); !folder.empty()) {
    policy = open_checkpoint(folder);
  } else {
    policy.weights = model::open_weights(path);
    policy.tokenizer = text::load_tokenizer(path);
    policy.format = text::choose_chat_format(config.model.chat_template, path, *policy.tokenizer);
  }
  if (policy.tokenizer->vocabulary_size() > policy.weights->spec().vocabulary) {
    throw_user_error("model.path: the tokenizer of '{}' has {} tokens, the model only {}", path,
                     policy.tokenizer->vocabulary_size(), policy.weights->spec().vocabulary);
  }
  policy.stop_ids = text::end_of_turn_ids(policy.format, *policy.tokenizer);
  return policy;
}

std::vector<std::pair<std::string, std::string>> policy_files(const Policy& policy) {
  return {{"tokenizer.json", policy.tokenizer->to_tokenizer_json()},
          {"tokenizer_config.json", policy.tokenizer->to_tokenizer_config_json()}};
}

std::string chat_format_name(text::ChatFormat format) {
  switch (format) {
    case text::ChatFormat::chatml: return "chatml";
    case text::ChatFormat::smollm2: return "smollm2";
    case text::ChatFormat::qwen: return "qwen";
    case text::ChatFormat::llama3: return "llama3";
  }
  throw BugError("unknown chat format");
}

}  // namespace setrl::roles
