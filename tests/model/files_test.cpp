// Writing, damage and mistakes: every broken file is one clear error, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/random.h"
#include "model/decoder.h"
#include "model/hf_folder.h"
#include "model/weight_source.h"

namespace setrl::model {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

fs::path fixtures() {
  return fs::path(std::getenv("SETRL_FIXTURES")) / "model";
}

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("model_files_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  static void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

  // "" where everything can be read, else the error.
  static std::string problem_of(const fs::path& path) {
    try {
      load_all(*open_weights(path.string()), at::kFloat);
    } catch (const UserError& failure) {
      return failure.what();
    }
    return "";
  }

  fs::path copy(const char* name) {
    fs::copy(fixtures() / name, folder_ / name, fs::copy_options::recursive);
    return folder_ / name;
  }

  fs::path folder_;
};

TEST_F(Files, CutFilesAreRefused) {
  RandomStream random(1, 1);
  for (const auto& [fixture, file] :
       std::vector<std::pair<std::string, std::string>>{{"llama", "model.safetensors"},
                                                        {"llama", "config.json"},
                                                        {"qwen3", "model-00002-of-00002.safetensors"},
                                                        {"qwen3", "model.safetensors.index.json"},
                                                        {"llama.gguf", ""}}) {
    const fs::path target = copy(fixture.c_str());
    const fs::path path = file.empty() ? target : target / file;
    const std::string good = read(path);
    ASSERT_EQ(problem_of(target), "") << fixture;
    for (int round = 0; round < 60; ++round) {
      write(path, good.substr(0, round < 20 ? static_cast<std::size_t>(round) : random.below(good.size() - 1)));
      EXPECT_THAT(problem_of(target), HasSubstr(folder_.string())) << fixture << " cut, round " << round;
    }
    fs::remove_all(target);
  }
}

TEST_F(Files, DamagedHeadersAreRefusedOrReadable) {
  RandomStream random(2, 2);
  int refused = 0;
  for (const auto& [fixture, file] :
       std::vector<std::pair<std::string, std::string>>{{"llama", "model.safetensors"},
                                                        {"llama", "config.json"},
                                                        {"qwen3", "model.safetensors.index.json"},
                                                        {"llama.gguf", ""}}) {
    const fs::path target = copy(fixture.c_str());
    const fs::path path = file.empty() ? target : target / file;
    const std::string good = read(path);
    for (int round = 0; round < 250; ++round) {
      std::string text = good;
      for (int flips = 0; flips < 1 + round % 3; ++flips) {
        text[random.below(std::min<std::size_t>(text.size(), 2400))] ^= static_cast<char>(1 << random.below(8));
      }
      write(path, text);
      if (!problem_of(target).empty()) ++refused;
    }
    fs::remove_all(target);
  }
  EXPECT_GT(refused, 400);
}

TEST_F(Files, MessagesNameTheTensorAndWhatIsWrong) {
  const fs::path target = copy("llama");
  auto config = nlohmann::json::parse(read(target / "config.json"));
  const auto with = [&](const char* key, const nlohmann::json& value) {
    auto changed = config;
    changed[key] = value;
    write(target / "config.json", changed.dump());
    return problem_of(target);
  };
  EXPECT_THAT(with("intermediate_size", 81), HasSubstr("mlp.gate_proj.weight"));
  EXPECT_THAT(with("num_hidden_layers", 3), HasSubstr("'model.layers.2.input_layernorm.weight' is missing"));
  EXPECT_THAT(with("tie_word_embeddings", false), HasSubstr("'lm_head.weight' is missing"));
  EXPECT_THAT(with("model_type", "mamba"), HasSubstr("llama, qwen2, qwen3"));
  EXPECT_THAT(with("hidden_size", "big"), HasSubstr("hidden_size"));
  EXPECT_THAT(with("attention_bias", true), HasSubstr("attention_bias"));
  EXPECT_THAT(problem_of(folder_ / "nothing"), HasSubstr("nothing"));
  fs::remove(target / "config.json");
  EXPECT_THAT(problem_of(target), HasSubstr("no config.json"));
}

TEST_F(Files, WrittenFoldersReadBack) {
  const auto source = open_weights((fixtures() / "qwen3").string());
  const ReadSlice slices = [&](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
    source->read(name, begin, end, out);
  };
  const auto expected = load_all(*source, at::kFloat);
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    for (const std::int64_t limit : {std::int64_t{1} << 40, std::int64_t{30000}}) {
      const fs::path out = folder_ / fmt::format("out-{}-{}", static_cast<int>(dtype), limit);
      write_hf_folder(out.string(), source->spec(), dtype, slices, {{"note.txt", "hello"}}, {2, 0}, limit);
      EXPECT_EQ(fs::exists(out / "model.safetensors.index.json"), limit == 30000);
      EXPECT_EQ(read(out / "note.txt"), "hello");
      EXPECT_EQ(nlohmann::json::parse(read(out / "generation_config.json")).at("eos_token_id"), nlohmann::json({2, 0}));
      const auto back = load_all(*open_weights(out.string()), at::kFloat);
      for (const auto& [name, tensor] : expected) {
        const at::Tensor rounded = dtype == DType::bfloat16 ? tensor.to(at::kBFloat16).to(at::kFloat) : tensor;
        EXPECT_TRUE(at::equal(back.at(name), rounded)) << name;  // the fixture's values are float16
      }
    }
  }
  EXPECT_THROW(write_hf_folder((fixtures() / "llama").string(), source->spec(), DType::float32, slices, {}, {}),
               UserError);
}

TEST_F(Files, ConfigurationsSurviveWritingAndReading) {
  for (const char* name : {"llama", "llama3_scaled", "qwen2", "qwen3"}) {
    const auto spec = open_weights((fixtures() / name).string())->spec();
    const std::string text = to_hf_config(spec, "float32");
    EXPECT_EQ(to_hf_config(parse_hf_config(text, "copy"), "float32"), text) << name;
  }
}

TEST(RandomWeights, SlicesEqualTheWhole) {
  const auto spec = open_weights((fixtures() / "qwen2").string())->spec();
  const auto source = random_weights(spec, 7);
  for (const auto& parameter : parameter_table(spec)) {
    std::vector<float> whole(static_cast<std::size_t>(parameter.elements())), part(7);
    source->read(parameter.name, 0, parameter.elements(), whole.data());
    source->read(parameter.name, 5, 12, part.data());
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 5)) << parameter.name;
  }
  const auto tensors = load_all(*source, at::kFloat);
  EXPECT_NEAR(tensors.at("model.embed_tokens.weight").std().item<double>(), 0.02, 0.001);
  EXPECT_EQ(tensors.at("model.norm.weight").mean().item<double>(), 1);
}

TEST(RandomWeights, RepeatedOnesHaveSlicesAndTensorsOfTheirOwn) {
  auto spec = open_weights((fixtures() / "qwen2").string())->spec();
  spec.vocabulary = 50000;  // so that the embedding is longer than what is repeated
  const auto source = repeated_random_weights(spec, 7);
  const auto tensors = load_all(*source, at::kFloat);
  for (const auto& parameter : parameter_table(spec)) {
    const at::Tensor whole = tensors.at(parameter.name).reshape({-1});
    for (const std::int64_t begin : {std::int64_t{0}, std::int64_t{5}, parameter.elements() / 2}) {
      const std::int64_t count = std::min<std::int64_t>(parameter.elements() - begin, 1 << 20);
      const at::Tensor part = at::empty({count}, at::kFloat);
      source->read(parameter.name, begin, begin + count, part.data_ptr<float>());
      EXPECT_TRUE(at::equal(part, whole.narrow(0, begin, count))) << parameter.name << " from " << begin;
    }
  }
  const at::Tensor& embedding = tensors.at("model.embed_tokens.weight");
  ASSERT_GT(embedding.numel(), 2'000'000);
  EXPECT_NEAR(embedding.std().item<double>(), 0.02, 1e-4);
  EXPECT_NEAR(embedding.mean().item<double>(), 0, 1e-4);
  EXPECT_FALSE(at::equal(embedding[0], embedding[1]));
  EXPECT_TRUE(at::all(tensors.at("model.layers.0.input_layernorm.weight") == 1).item<bool>());
  EXPECT_TRUE(at::all(tensors.at("model.layers.0.self_attn.q_proj.bias") == 0).item<bool>());
  EXPECT_FALSE(
      at::equal(tensors.at("model.layers.0.mlp.gate_proj.weight"), tensors.at("model.layers.0.mlp.up_proj.weight")));
  EXPECT_FALSE(
      at::equal(embedding, load_all(*repeated_random_weights(spec, 8), at::kFloat).at("model.embed_tokens.weight")));
}

TEST(ChooseDtype, KnowsTheNamesOnly) {
  EXPECT_EQ(choose_dtype("float32"), at::kFloat);
  EXPECT_EQ(choose_dtype("bfloat16"), at::kBFloat16);
  EXPECT_EQ(choose_dtype("auto", at::kCUDA), at::kBFloat16);
  EXPECT_THROW(choose_dtype("int8"), UserError);
}

}  // namespace
}  // namespace setrl::model
