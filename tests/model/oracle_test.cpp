// The decoder and the weight formats against transformers and the gguf package; fixtures by
// tests/fixtures/model/make_models.py.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "model/decoder.h"
#include "model/number_formats.h"
#include "model/weight_source.h"

namespace setrl::model {
namespace {

namespace fs = std::filesystem;

fs::path fixtures() {
  return fs::path(std::getenv("SETRL_FIXTURES")) / "model";
}

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

template <typename T>
std::vector<T> read_values(const fs::path& path) {
  const std::string bytes = read_bytes(path);
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

at::Tensor logits_of(const std::string& path, const std::vector<std::int64_t>& ids) {
  const at::NoGradGuard no_grad;
  const auto source = open_weights(path);
  return forward_logits(source->spec(), load_all(*source, at::kFloat), at::tensor(ids, at::kLong));
}

void expect_equal_logits(const at::Tensor& logits, const std::vector<float>& expected, const std::string& what) {
  ASSERT_EQ(logits.numel(), static_cast<std::int64_t>(expected.size())) << what;
  const at::Tensor oracle = at::from_blob(const_cast<float*>(expected.data()), logits.sizes(), at::kFloat);
  const double error = ((logits - oracle).abs().max() / oracle.abs().max()).item<double>();
  EXPECT_LT(error, 1e-5) << what;
  EXPECT_TRUE(at::equal(logits.argmax(1), oracle.argmax(1))) << what;
}

TEST(Decoder, EqualsTransformersForEachFamily) {
  for (const char* name : {"llama", "llama3_scaled", "qwen2", "qwen3"}) {
    const fs::path folder = fixtures() / name;
    expect_equal_logits(logits_of(folder.string(), read_values<std::int64_t>(folder / "ids.bin")),
                        read_values<float>(folder / "logits.bin"), name);
  }
}

TEST(Decoder, ReadsGgufWithPermutedHeadsToTheSameLogits) {
  const fs::path folder = fixtures() / "llama";
  expect_equal_logits(logits_of((fixtures() / "llama.gguf").string(), read_values<std::int64_t>(folder / "ids.bin")),
                      read_values<float>(folder / "logits.bin"), "gguf");
}

TEST(Decoder, IsDifferentiable) {
  const auto source = open_weights((fixtures() / "qwen3").string());
  auto tensors = load_all(*source, at::kFloat);
  for (auto& [name, tensor] : tensors) tensor.requires_grad_(true);
  forward_logits(source->spec(), tensors, at::arange(10, at::kLong)).square().mean().backward();
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_TRUE(tensor.grad().isfinite().all().item<bool>() && tensor.grad().abs().max().item<double>() > 0) << name;
  }
}

TEST(NumberFormats, EqualTheGgufPackage) {
  const std::string data = read_bytes(fixtures() / "formats.bin");
  std::istringstream list(read_bytes(fixtures() / "formats.txt"));
  std::string name;
  std::uint32_t type = 0;
  std::size_t stored = 0, at = 0;
  int formats = 0;
  while (list >> name >> type >> stored) {
    const BlockFormat* format = gguf_format(type);
    ASSERT_NE(format, nullptr) << name;
    EXPECT_EQ(name, format->name);
    ASSERT_EQ(stored, 1024 / static_cast<std::size_t>(format->elements) * static_cast<std::size_t>(format->bytes))
        << name;
    const auto* blocks = reinterpret_cast<const std::uint8_t*>(data.data() + at);
    std::vector<float> expected(1024), whole(1024), part(100);
    std::memcpy(expected.data(), data.data() + at + stored, 4096);
    decode_range(*format, blocks, 0, 1024, whole.data());
    for (std::size_t i = 0; i < 1024; ++i)
      ASSERT_NEAR(whole[i], expected[i], 1e-6 * std::abs(expected[i])) << name << " " << i;
    // Slices need not begin or end at blocks.
    for (const std::int64_t begin : {0, 1, 31, 250, 500, 924}) {
      decode_range(*format, blocks, begin, begin + 100, part.data());
      EXPECT_EQ(0, std::memcmp(part.data(), whole.data() + begin, 400)) << name << " from " << begin;
    }
    at += stored + 4096;
    ++formats;
  }
  EXPECT_EQ(formats, 10);
}

TEST(NumberFormats, HalfAndBfloat16EqualLibTorchForEveryBitPattern) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    const float half = half_to_float(pattern), brain = bfloat16_to_float(pattern);
    const float half_oracle = static_cast<float>(at::Half(pattern, at::Half::from_bits()));
    const float brain_oracle = static_cast<float>(at::BFloat16(pattern, at::BFloat16::from_bits()));
    ASSERT_TRUE(half == half_oracle || (std::isnan(half) && std::isnan(half_oracle))) << bits;
    ASSERT_TRUE(brain == brain_oracle || (std::isnan(brain) && std::isnan(brain_oracle))) << bits;
    // Values on and between representable ones.
    for (const float value : {half, half * 1.0003f, brain * 1.003f}) {
      if (std::isnan(value)) continue;
      ASSERT_EQ(float_to_half(value), at::Half(value).x) << value;
      ASSERT_EQ(float_to_bfloat16(value), at::BFloat16(value).x) << value;
    }
  }
}

// Teacher-forced: one forward over prompt and continuation; the most likely token at each place is the next one.
void expect_greedy(const at::Tensor& logits, const std::vector<std::int64_t>& tokens, std::size_t prompt) {
  const at::Tensor best = logits.argmax(1);
  for (std::size_t i = prompt; i < tokens.size(); ++i) {
    EXPECT_EQ(best[static_cast<std::int64_t>(i) - 1].item<std::int64_t>(), tokens[i]) << "token " << i;
  }
}

TEST(Decoder, SmolLM2EqualsTransformers) {
  const std::string path = std::string(std::getenv("SETRL_SOURCE_DIR")) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(path)) GTEST_SKIP() << "SKIPPED: no " << path << "; run launch/setup.sh";
  const auto oracle = nlohmann::json::parse(read_bytes(fixtures() / "smollm2.json"));
  const auto tokens = oracle.at("tokens").get<std::vector<std::int64_t>>();
  const auto prompt = oracle.at("prompt_length").get<std::size_t>();
  ASSERT_EQ(tokens.size(), prompt + 64);
  const at::Tensor logits = logits_of(path, tokens);
  expect_greedy(logits, tokens, prompt);
  const auto ids = oracle.at("top_ids").get<std::vector<std::vector<std::int64_t>>>();
  const auto values = oracle.at("top_logits").get<std::vector<std::vector<double>>>();
  for (std::size_t row = 0; row < ids.size(); ++row) {
    const at::Tensor here = logits[static_cast<std::int64_t>(tokens.size() - ids.size() + row)];
    for (std::size_t i = 0; i < ids[row].size(); ++i) {
      EXPECT_NEAR(here[ids[row][i]].item<double>(), values[row][i], 1e-4 * std::abs(values[row][i]));
    }
  }
}

// The llama2.c layout: seven integers, then float32 tensors, those of all layers together.
class Llama2cWeights : public WeightSource {
 public:
  explicit Llama2cWeights(const fs::path& path) : data_(read_bytes(path)) {
    std::int32_t header[7];
    std::memcpy(header, data_.data(), sizeof header);
    spec_.hidden = header[0];
    spec_.inner = header[1];
    spec_.layers = header[2];
    spec_.heads = header[3];
    spec_.kv_heads = header[4];
    spec_.vocabulary = std::abs(header[5]);
    spec_.max_positions = header[6];
    spec_.head_size = spec_.hidden / spec_.heads;
    spec_.tied_embeddings = true;
    const std::int64_t e = spec_.hidden, kv = spec_.kv_heads * spec_.head_size, n = spec_.layers, inner = spec_.inner;
    std::int64_t at = 0;
    const auto place = [&](const std::string& name, std::int64_t elements, std::int64_t layers) {
      places_[name] = {at, elements};
      at += elements * layers;
    };
    place("model.embed_tokens.weight", spec_.vocabulary * e, 1);
    place("input_layernorm.weight", e, n);
    place("self_attn.q_proj.weight", e * e, n);
    place("self_attn.k_proj.weight", kv * e, n);
    place("self_attn.v_proj.weight", kv * e, n);
    place("self_attn.o_proj.weight", e * e, n);
    place("post_attention_layernorm.weight", e, n);
    place("mlp.gate_proj.weight", inner * e, n);
    place("mlp.down_proj.weight", e * inner, n);
    place("mlp.up_proj.weight", inner * e, n);
    place("model.norm.weight", e, 1);
  }
  const ModelSpec& spec() const override { return spec_; }
  std::string describe() const override { return "stories260K"; }
  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override {
    std::string key = name;
    std::int64_t layer = 0;
    if (name.rfind("model.layers.", 0) == 0) {
      layer = std::stoll(name.substr(13));
      key = name.substr(name.find('.', 13) + 1);
    }
    const auto [start, elements] = places_.at(key);
    const bool rotary = key == "self_attn.q_proj.weight" || key == "self_attn.k_proj.weight";
    const std::int64_t columns = spec_.hidden, half = spec_.head_size / 2;
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t from = i;
      if (rotary) {  // interleaved rotary pairs
        const std::int64_t row = i / columns, within = row % spec_.head_size;
        from = (row - within + within % half * 2 + within / half) * columns + i % columns;
      }
      std::memcpy(out + (i - begin), data_.data() + 28 + 4 * (start + layer * elements + from), 4);
    }
  }

 private:
  std::string data_;
  ModelSpec spec_;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> places_;
};

TEST(Decoder, Stories260KEqualsTransformers) {
  const fs::path path = fs::path(std::getenv("SETRL_DATA")) / "models/stories260K/stories260K.bin";
  if (!fs::exists(path)) GTEST_SKIP() << "SKIPPED: no " << path << "; set SETRL_DATA";
  const auto tokens =
      nlohmann::json::parse(read_bytes(fixtures() / "stories260K.json")).at("tokens").get<std::vector<std::int64_t>>();
  ASSERT_EQ(tokens.size(), 65u);
  const at::NoGradGuard no_grad;
  const Llama2cWeights source(path);
  expect_greedy(forward_logits(source.spec(), load_all(source, at::kFloat), at::tensor(tokens, at::kLong)), tokens, 1);
  // tok512.bin: longest token, then for each token score, length, bytes.
  const std::string vocabulary = read_bytes(path.parent_path() / "tok512.bin");
  std::vector<std::string> words;
  for (std::size_t at = 4; at + 8 <= vocabulary.size();) {
    std::int32_t length = 0;
    std::memcpy(&length, vocabulary.data() + at + 4, 4);
    words.push_back(vocabulary.substr(at + 8, static_cast<std::size_t>(length)));
    at += 8 + static_cast<std::size_t>(length);
  }
  std::string text;
  for (std::size_t i = 1; i < tokens.size(); ++i) text += words.at(static_cast<std::size_t>(tokens[i]));
  EXPECT_NE(text.find("Once upon a time, there was a little girl named Lily."), std::string::npos) << text;
}

}  // namespace
}  // namespace setrl::model
