// GGUF version 2 and 3: header, typed metadata, tensor directory, aligned data. Layout: the ggml project's gguf
// document.
#include <cstring>
#include <map>

#include "base/error.h"
#include "model/stored_weights.h"

namespace setrl::model {

namespace {

enum MetadataType : std::uint32_t { kString = 8, kArray = 9 };

// Bounds-checked reading of the header.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_(file) {}

  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, bytes(sizeof value), sizeof value);
    return value;
  }
  std::string text() {
    const auto length = take<std::uint64_t>();
    return {reinterpret_cast<const char*>(bytes(length)), length};
  }
  void skip(std::uint64_t count, std::uint64_t size) {
    if (size != 0 && count > file_.size() / size) cut_off();
    bytes(count * size);
  }
  std::uint64_t position() const { return at_; }

 private:
  const std::uint8_t* bytes(std::uint64_t count) {
    if (count > file_.size() - at_) cut_off();
    const std::uint8_t* from = file_.data() + at_;
    at_ += count;
    return from;
  }
  [[noreturn]] void cut_off() const {
    throw_user_error("{}: the GGUF header is cut off or corrupted at byte {} of {}", file_.path(), at_, file_.size());
  }

  const MappedFile& file_;
  std::uint64_t at_ = 0;
};

// Bytes of the scalar metadata types, 0 for others.
std::uint64_t scalar_size(std::uint32_t type) {
  constexpr std::uint64_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < std::size(kSizes) ? kSizes[type] : 0;
}

struct Metadata {
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
};

void read_value(Cursor& cursor, const std::string& key, Metadata& metadata, const std::string& file) {
  const auto type = cursor.take<std::uint32_t>();
  switch (type) {
    case 0: metadata.numbers[key] = cursor.take<std::uint8_t>(); return;
    case 1: metadata.numbers[key] = cursor.take<std::int8_t>(); return;
    case 2: metadata.numbers[key] = cursor.take<std::uint16_t>(); return;
    case 3: metadata.numbers[key] = cursor.take<std::int16_t>(); return;
    case 4: metadata.numbers[key] = cursor.take<std::uint32_t>(); return;
    case 5: metadata.numbers[key] = cursor.take<std::int32_t>(); return;
    case 6: metadata.numbers[key] = static_cast<double>(cursor.take<float>()); return;
    case 7: metadata.numbers[key] = cursor.take<std::uint8_t>(); return;
    case kString: metadata.texts[key] = cursor.text(); return;
    case 10: metadata.numbers[key] = static_cast<double>(cursor.take<std::uint64_t>()); return;
    case 11: metadata.numbers[key] = static_cast<double>(cursor.take<std::int64_t>()); return;
    case 12: metadata.numbers[key] = cursor.take<double>(); return;
    case kArray: {  // the vocabulary and the like: passed over
      const auto element = cursor.take<std::uint32_t>();
      const auto count = cursor.take<std::uint64_t>();
      if (element == kString) {
        for (std::uint64_t i = 0; i < count; ++i) cursor.text();
        return;
      }
      if (scalar_size(element) == 0) throw_user_error("{}: '{}' has an unknown element type {}", file, key, element);
      cursor.skip(count, scalar_size(element));
      return;
    }
    default: throw_user_error("{}: '{}' has an unknown metadata type {}", file, key, type);
  }
}

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; "" for tensors the decoder does not use.
std::string hugging_face_name(const std::string& name) {
  static const std::map<std::string, std::string> kGlobal = {{"token_embd.weight", "model.embed_tokens.weight"},
                                                             {"output_norm.weight", "model.norm.weight"},
                                                             {"output.weight", "lm_head.weight"}};
  static const std::map<std::string, std::string> kBlock = {
      {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
      {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  if (const auto found = kGlobal.find(name); found != kGlobal.end()) return found->second;
  if (name.rfind("blk.", 0) != 0) return "";
  const auto first = name.find('.', 4), second = name.rfind('.');
  if (first == std::string::npos || second <= first) return "";
  const auto found = kBlock.find(name.substr(first + 1, second - first - 1));
  if (found == kBlock.end()) return "";
  return "model.layers." + name.substr(4, first - 4) + "." + found->second + name.substr(second);
}

class Gguf : public WeightSource {
 public:
  explicit Gguf(const std::string& path) : file_(path) {
    Cursor cursor(file_);
    if (file_.size() < 24 || std::memcmp(file_.data(), "GGUF", 4) != 0) throw_user_error("{}: not a GGUF file", path);
    cursor.skip(4, 1);
    const auto version = cursor.take<std::uint32_t>();
    if (version != 2 && version != 3) throw_user_error("{}: GGUF version {} is not supported (2, 3)", path, version);
    const auto tensor_count = cursor.take<std::uint64_t>(), metadata_count = cursor.take<std::uint64_t>();
    for (std::uint64_t i = 0; i < metadata_count; ++i) {
      const std::string key = cursor.text();
      read_value(cursor, key, metadata_, path);
    }
    read_directory(cursor, tensor_count);
    make_spec();
    check_against_table(spec_, tensors_, path);
  }

  const ModelSpec& spec() const override { return spec_; }

  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override {
    const StoredTensor& tensor = find_tensor(tensors_, name, begin, end);
    const std::int64_t heads = permuted_heads(name);
    if (heads == 0) {
      decode_range(*tensor.format, tensor.data, begin, end, out);
      return;
    }
    // llama.cpp stores the rows of Q and K with the two halves of a head interleaved, for its rotary embedding.
    const std::int64_t columns = tensor.shape.back(), half = spec_.head_size / 2;
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t row = at / columns, next = std::min(end, (row + 1) * columns);
      const std::int64_t within = row % spec_.head_size;
      const std::int64_t stored = row - within + within % half * 2 + within / half;
      decode_range(*tensor.format, tensor.data, stored * columns + at % columns,
                   stored * columns + at % columns + next - at, out + (at - begin));
      at = next;
    }
  }

  std::string describe() const override {
    return fmt::format("{}, {:.1f}M parameters, GGUF", file_.path(),
                       static_cast<double>(spec_.parameter_count()) / 1e6);
  }

 private:
  void read_directory(Cursor& cursor, std::uint64_t count) {
    struct Entry {
      std::string name;
      StoredTensor tensor;
      std::uint64_t offset = 0, bytes = 0;
    };
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < count; ++i) {
      Entry entry;
      entry.name = cursor.text();
      const auto dimensions = cursor.take<std::uint32_t>();
      if (dimensions < 1 || dimensions > 4) {
        throw_user_error("{}: the tensor '{}' has {} dimensions", file_.path(), entry.name, dimensions);
      }
      std::uint64_t elements = 1;
      for (std::uint32_t d = 0; d < dimensions; ++d) {
        const auto extent = cursor.take<std::uint64_t>();
        if (extent == 0 || extent > (1ULL << 40) / elements) {
          throw_user_error("{}: the tensor '{}' has an absurd shape", file_.path(), entry.name);
        }
        elements *= extent;
        entry.tensor.shape.insert(entry.tensor.shape.begin(),
                                  static_cast<std::int64_t>(extent));  // innermost first in the file
      }
      const auto type = cursor.take<std::uint32_t>();
      entry.offset = cursor.take<std::uint64_t>();
      entry.tensor.format = gguf_format(type);
      entry.tensor.file = file_.path();
      const std::string name = hugging_face_name(entry.name);
      if (name.empty()) continue;
      if (entry.tensor.format == nullptr) {
        throw_user_error(
            "{}: the tensor '{}' has the unsupported type {}; supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1, "
            "Q5_0, Q5_1, Q4_K, Q6_K",
            file_.path(), entry.name, type);
      }
      const auto block = static_cast<std::uint64_t>(entry.tensor.format->elements);
      if (static_cast<std::uint64_t>(entry.tensor.shape.back()) % block != 0) {
        throw_user_error("{}: rows of the tensor '{}' are no whole blocks of {}", file_.path(), entry.name,
                         entry.tensor.format->name);
      }
      entry.bytes = elements / block * static_cast<std::uint64_t>(entry.tensor.format->bytes);
      entry.name = name;
      entries.push_back(std::move(entry));
    }
    const double asked =
        metadata_.numbers.count("general.alignment") != 0 ? metadata_.numbers.at("general.alignment") : 32;
    if (!(asked >= 1 && asked <= 1 << 20)) throw_user_error("{}: general.alignment is {}", file_.path(), asked);
    const auto alignment = static_cast<std::uint64_t>(asked);
    const std::uint64_t data_begin = (cursor.position() + alignment - 1) / alignment * alignment;
    for (auto& entry : entries) {
      if (data_begin > file_.size() || entry.offset > file_.size() - data_begin ||
          entry.bytes > file_.size() - data_begin - entry.offset) {
        throw_user_error("{}: the tensor '{}' lies beyond the end of the file: it is cut off", file_.path(),
                         entry.name);
      }
      entry.tensor.data = file_.data() + data_begin + entry.offset;
      if (!tensors_.emplace(entry.name, entry.tensor).second) {
        throw_user_error("{}: the tensor '{}' is there twice", file_.path(), entry.name);
      }
    }
  }

  double number(const std::string& key) const {
    const auto found = metadata_.numbers.find(key);
    if (found == metadata_.numbers.end()) throw_user_error("{}: the metadata '{}' is missing", file_.path(), key);
    return found->second;
  }
  double number(const std::string& key, double fallback) const {
    const auto found = metadata_.numbers.find(key);
    return found == metadata_.numbers.end() ? fallback : found->second;
  }
  std::int64_t size(const std::string& key) const {
    const double value = number(key);
    if (!(value >= 1 && value < 2147483648.0))
      throw_user_error("{}: the metadata '{}' is {}", file_.path(), key, value);
    return static_cast<std::int64_t>(value);
  }

  void make_spec() {
    const auto found = metadata_.texts.find("general.architecture");
    const std::string architecture = found == metadata_.texts.end() ? "" : found->second;
    if (architecture == "llama")
      spec_.family = Family::llama;
    else if (architecture == "qwen2")
      spec_.family = Family::qwen2;
    else if (architecture == "qwen3")
      spec_.family = Family::qwen3;
    else
      throw_user_error("{}: the architecture '{}' is not supported (llama, qwen2, qwen3)", file_.path(), architecture);
    const std::string at = architecture + ".";
    spec_.qkv_bias = spec_.family == Family::qwen2;
    spec_.qk_norm = spec_.family == Family::qwen3;
    spec_.hidden = size(at + "embedding_length");
    spec_.inner = size(at + "feed_forward_length");
    spec_.layers = size(at + "block_count");
    spec_.heads = size(at + "attention.head_count");
    spec_.kv_heads = metadata_.numbers.count(at + "attention.head_count_kv") != 0 ? size(at + "attention.head_count_kv")
                                                                                  : spec_.heads;
    spec_.head_size = metadata_.numbers.count(at + "attention.key_length") != 0 ? size(at + "attention.key_length")
                                                                                : spec_.hidden / spec_.heads;
    spec_.max_positions = size(at + "context_length");
    spec_.rope_theta = number(at + "rope.freq_base", 10000);
    spec_.norm_epsilon = number(at + "attention.layer_norm_rms_epsilon", 1e-5);
    spec_.bos_id = static_cast<std::int32_t>(number("tokenizer.ggml.bos_token_id", -1));
    spec_.eos_id = static_cast<std::int32_t>(number("tokenizer.ggml.eos_token_id", -1));
    spec_.tied_embeddings = tensors_.count("lm_head.weight") == 0;
    if (const auto embedding = tensors_.find("model.embed_tokens.weight"); embedding != tensors_.end()) {
      spec_.vocabulary = embedding->second.shape.front();
    }
    if (spec_.head_size % 2 != 0 || spec_.heads % spec_.kv_heads != 0) {
      throw_user_error("{}: {} heads, {} key-value heads and a head size of {} do not fit together", file_.path(),
                       spec_.heads, spec_.kv_heads, spec_.head_size);
    }
    if (spec_.layers > 10000) throw_user_error("{}: {} blocks", file_.path(), spec_.layers);
  }

  // Number of heads where the stored rows are permuted (architecture llama, Q and K), else 0.
  std::int64_t permuted_heads(const std::string& name) const {
    if (spec_.family != Family::llama) return 0;
    const auto ends_with = [&](const std::string& tail) {
      return name.size() >= tail.size() && name.compare(name.size() - tail.size(), tail.size(), tail) == 0;
    };
    if (ends_with("self_attn.q_proj.weight")) return spec_.heads;
    return ends_with("self_attn.k_proj.weight") ? spec_.kv_heads : 0;
  }

  MappedFile file_;
  Metadata metadata_;
  ModelSpec spec_;
  std::unordered_map<std::string, StoredTensor> tensors_;
};

}  // namespace

std::unique_ptr<WeightSource> open_gguf(const std::string& path) {
  return std::make_unique<Gguf>(path);
}

}  // namespace setrl::model
