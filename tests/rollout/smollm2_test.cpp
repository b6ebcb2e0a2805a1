// A real model: greedy text equal to transformers'.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "model/weight_source.h"
#include "rollout/kv_cache.h"
#include "support.h"

namespace setrl::rollout {
namespace {

class SmolLm2Test : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = std::string(std::getenv("SETRL_SOURCE_DIR")) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!std::filesystem::exists(path)) {
      std::cerr << "*** SKIPPED: " << path << " is missing; launch/setup.sh fetches it ***\n";
      GTEST_SKIP() << path << " is missing";
    }
    source_ = model::open_weights(path);
    std::ifstream file(std::string(std::getenv("SETRL_FIXTURES")) + "/rollout/smollm2_greedy.json");
    cases_ = nlohmann::json::parse(file);
  }

  void load(Engine& engine) {
    engine.begin_update();
    for (const auto& parameter : model::parameter_table(source_->spec())) {
      at::Tensor tensor = at::empty(parameter.shape, at::kFloat);
      source_->read(parameter.name, 0, parameter.elements(), tensor.mutable_data_ptr<float>());
      engine.update(parameter.name, tensor);
    }
    engine.end_update(0);
  }

  test::Results greedy(at::ScalarType dtype, int new_tokens) {
    Engine engine(source_->spec(), dtype, 20);
    load(engine);
    std::vector<GenerationRequest> requests;
    for (std::size_t i = 0; i < cases_.size(); ++i) {
      requests.push_back({static_cast<std::int64_t>(i), std::to_string(i),
                          cases_[i].at("prompt").get<std::vector<std::int32_t>>(), 1, 0});
    }
    SamplingOptions sampling;
    sampling.temperature = 0;
    sampling.max_new_tokens = new_tokens;
    return test::generate(engine, requests, sampling);
  }

  std::unique_ptr<model::WeightSource> source_;
  nlohmann::json cases_;
};

TEST_F(SmolLm2Test, GreedyTextEqualsTransformersInFloat32) {
  const auto results = greedy(at::kFloat, 256);
  ASSERT_EQ(cases_.size(), 20u);
  for (std::size_t i = 0; i < cases_.size(); ++i) {
    const auto& completion = results.at({std::to_string(i), 0});
    EXPECT_EQ(completion.tokens, cases_[i].at("tokens").get<std::vector<std::int32_t>>()) << cases_[i].at("text");
    const auto& logprobs = cases_[i].at("logprobs");
    for (std::size_t t = 0; t < logprobs.size(); ++t) {
      EXPECT_NEAR(completion.logprobs[t], logprobs[t].get<double>(), 1e-3);
    }
  }
}

TEST_F(SmolLm2Test, Bfloat16FollowsUntilTheChoiceIsClose) {
  const auto results = greedy(at::kBFloat16, 64);
  for (std::size_t i = 0; i < cases_.size(); ++i) {
    const auto& completion = results.at({std::to_string(i), 0});
    for (std::size_t t = 0; t < completion.tokens.size(); ++t) {
      if (completion.tokens[t] != cases_[i].at("tokens")[t].get<std::int32_t>()) {
        EXPECT_LT(cases_[i].at("margins")[t].get<double>(), 0.4) << "token " << t << " of text " << i;
        break;
      }
      EXPECT_NEAR(completion.logprobs[t], cases_[i].at("logprobs")[t].get<double>(), 0.25);
    }
  }
}

TEST_F(SmolLm2Test, TheTextIsThatOfTheFullCacheInHalfOfIt) {
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 6; ++i) {
    const auto tag = static_cast<std::int64_t>(i);
    requests.push_back({tag, std::to_string(i), test::prompt_of(90 + i, source_->spec().vocabulary, i), 4, 0});
  }
  SamplingOptions sampling;
  sampling.max_new_tokens = 100;
  sampling.seed = 3;
  // Two whole pages of a prompt for all, and for each of four samples those up to position 195.
  const std::int64_t pages = 6 * (2 + 4 * 5);
  const KvCache cache(source_->spec(), true);
  std::vector<test::Results> results;
  std::vector<EngineStats> stats;
  for (const std::int64_t budget : {pages, pages / 2}) {
    EngineOptions options;
    options.max_batch = 24;
    options.kv_cache_bytes = budget * cache.page_bytes();
    Engine engine(source_->spec(), at::kBFloat16, options);
    load(engine);
    results.push_back(test::generate(engine, requests, sampling));
    stats.push_back(engine.stats());
  }
  EXPECT_EQ(stats[0].preemptions, 0);
  EXPECT_GT(stats[1].preemptions, 0);
  ASSERT_EQ(results[0].size(), 24u);
  for (const auto& [key, completion] : results[0]) {
    EXPECT_EQ(completion.tokens, results[1].at(key).tokens) << key.first << " sample " << key.second;
    EXPECT_EQ(completion.logprobs, results[1].at(key).logprobs) << key.first << " sample " << key.second;
  }
  std::cout << "half the cache: " << stats[1].preemptions << " preemptions, " << stats[1].recomputed_tokens
            << " positions computed again\n";
}

}  // namespace
}  // namespace setrl::rollout
