// A real model: greedy text equal to transformers'.
#include <gtest/gtest.h>

#include "rollout/kv_cache.h"
#include "rollout/load.h"
#include "smollm2.h"
#include "support.h"

namespace setrl::rollout {
namespace {

class SmolLm2Test : public WithSmolLm2 {
 protected:
  test::Results greedy(at::ScalarType dtype, int new_tokens) {
    Engine engine(source_->spec(), dtype, 20);
    load(*source_, engine);
    SamplingOptions sampling;
    sampling.temperature = 0;
    sampling.max_new_tokens = new_tokens;
    return test::generate(engine, requests(cases_.size(), 1), sampling);
  }
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
    load(*source_, engine);
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
