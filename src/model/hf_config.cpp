// config.json of Hugging Face <-> ModelSpec.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/model_spec.h"

namespace setrl::model {

namespace {

using Json = nlohmann::json;

// Reads typed keys of one JSON object; a missing or wrong one is an error that names file and key.
class Reader {
 public:
  Reader(const Json& object, std::string file) : object_(object), file_(std::move(file)) {}

  bool has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }

  template <typename T>
  T get(const char* key) const {
    if (!has(key)) throw_user_error("{}: the key '{}' is missing", file_, key);
    try {
      return object_.at(key).get<T>();
    } catch (const Json::exception&) {
      throw_user_error("{}: the key '{}' has the unusable value {}", file_, key, object_.at(key).dump());
    }
  }
  template <typename T>
  T get(const char* key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }
  std::int64_t size(const char* key) const {
    const auto value = get<std::int64_t>(key);
    if (value < 1 || value > (1LL << 31))
      throw_user_error("{}: the key '{}' has the unusable value {}", file_, key, value);
    return value;
  }
  // A single id, or the first of a list.
  std::int32_t id(const char* key) const {
    if (!has(key)) return -1;
    const Json& value = object_.at(key);
    if (value.is_number_integer()) return value.get<std::int32_t>();
    if (value.is_array() && !value.empty() && value[0].is_number_integer()) return value[0].get<std::int32_t>();
    throw_user_error("{}: the key '{}' has the unusable value {}", file_, key, value.dump());
  }
  const std::string& file() const { return file_; }

 private:
  const Json& object_;
  std::string file_;
};

// Both the layout of transformers 4 (rope_theta, rope_scaling) and of 5 (rope_parameters).
void read_rope(const Json& config, const Reader& reader, ModelSpec& spec) {
  const char* section = config.contains("rope_parameters") ? "rope_parameters" : "rope_scaling";
  spec.rope_theta = reader.get<double>("rope_theta", 10000.0);
  if (!reader.has(section)) return;
  const Json& object = config.at(section);
  if (!object.is_object()) throw_user_error("{}: the key '{}' is not an object", reader.file(), section);
  const Reader rope(object, reader.file());
  spec.rope_theta = rope.get<double>("rope_theta", spec.rope_theta);
  const auto kind = rope.get<std::string>("rope_type", rope.get<std::string>("type", "default"));
  if (kind == "default") return;
  if (kind != "llama3")
    throw_user_error("{}: RoPE scaling of type '{}' is not supported (default, llama3)", reader.file(), kind);
  RopeScaling scaling;
  scaling.factor = rope.get<double>("factor");
  scaling.low_frequency_factor = rope.get<double>("low_freq_factor");
  scaling.high_frequency_factor = rope.get<double>("high_freq_factor");
  scaling.original_positions = rope.size("original_max_position_embeddings");
  spec.rope_scaling = scaling;
}

}  // namespace

ModelSpec parse_hf_config(const std::string& json_text, const std::string& file_name) {
  const Json config = Json::parse(json_text, nullptr, false);
  if (config.is_discarded() || !config.is_object()) throw_user_error("{}: not a JSON object", file_name);
  const Reader reader(config, file_name);
  ModelSpec spec;
  const auto type = reader.get<std::string>("model_type");
  if (type == "llama")
    spec.family = Family::llama;
  else if (type == "qwen2")
    spec.family = Family::qwen2;
  else if (type == "qwen3")
    spec.family = Family::qwen3;
  else
    throw_user_error("{}: model_type '{}' is not supported (llama, qwen2, qwen3)", file_name, type);
  spec.qkv_bias = spec.family == Family::qwen2;
  spec.qk_norm = spec.family == Family::qwen3;
  if (spec.family != Family::qwen2 && reader.get<bool>("attention_bias", false)) {
    throw_user_error("{}: attention_bias is not supported for {}", file_name, type);
  }
  if (reader.get<bool>("mlp_bias", false)) throw_user_error("{}: mlp_bias is not supported", file_name);
  if (reader.get<bool>("use_sliding_window", false))
    throw_user_error("{}: use_sliding_window is not supported", file_name);
  const auto activation = reader.get<std::string>("hidden_act", "silu");
  if (activation != "silu") throw_user_error("{}: hidden_act '{}' is not supported (silu)", file_name, activation);
  spec.vocabulary = reader.size("vocab_size");
  spec.hidden = reader.size("hidden_size");
  spec.inner = reader.size("intermediate_size");
  spec.layers = reader.size("num_hidden_layers");
  spec.heads = reader.size("num_attention_heads");
  spec.kv_heads = reader.has("num_key_value_heads") ? reader.size("num_key_value_heads") : spec.heads;
  spec.head_size = reader.has("head_dim") ? reader.size("head_dim") : spec.hidden / spec.heads;
  spec.max_positions = reader.has("max_position_embeddings") ? reader.size("max_position_embeddings") : 2048;
  spec.norm_epsilon = reader.get<double>("rms_norm_eps", 1e-6);
  spec.tied_embeddings = reader.get<bool>("tie_word_embeddings", false);
  spec.bos_id = reader.id("bos_token_id");
  spec.eos_id = reader.id("eos_token_id");
  read_rope(config, reader, spec);
  if (spec.heads % spec.kv_heads != 0 || spec.head_size % 2 != 0 || spec.layers > 10000) {
    throw_user_error("{}: {} heads, {} key-value heads and a head size of {} do not fit together", file_name,
                     spec.heads, spec.kv_heads, spec.head_size);
  }
  return spec;
}

std::string to_hf_config(const ModelSpec& spec, const std::string& torch_dtype) {
  const char* types[] = {"llama", "qwen2", "qwen3"};
  const char* architectures[] = {"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"};
  const auto family = static_cast<std::size_t>(spec.family);
  nlohmann::ordered_json config = {{"architectures", {architectures[family]}},
                                   {"model_type", types[family]},
                                   {"vocab_size", spec.vocabulary},
                                   {"hidden_size", spec.hidden},
                                   {"intermediate_size", spec.inner},
                                   {"num_hidden_layers", spec.layers},
                                   {"num_attention_heads", spec.heads},
                                   {"num_key_value_heads", spec.kv_heads},
                                   {"head_dim", spec.head_size},
                                   {"hidden_act", "silu"},
                                   {"max_position_embeddings", spec.max_positions},
                                   {"rms_norm_eps", spec.norm_epsilon},
                                   {"rope_theta", spec.rope_theta},
                                   {"tie_word_embeddings", spec.tied_embeddings},
                                   {"attention_dropout", 0.0},
                                   {"torch_dtype", torch_dtype}};
  if (spec.family != Family::qwen2) config["attention_bias"] = false;
  if (spec.bos_id >= 0) config["bos_token_id"] = spec.bos_id;
  if (spec.eos_id >= 0) config["eos_token_id"] = spec.eos_id;
  if (spec.rope_scaling) {
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", spec.rope_scaling->factor},
                              {"low_freq_factor", spec.rope_scaling->low_frequency_factor},
                              {"high_freq_factor", spec.rope_scaling->high_frequency_factor},
                              {"original_max_position_embeddings", spec.rope_scaling->original_positions}};
  }
  return config.dump(2) + "\n";
}

}  // namespace setrl::model
