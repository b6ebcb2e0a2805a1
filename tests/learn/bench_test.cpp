#include "learn/bench.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "learn/tiny_model.h"

namespace setrl::learn {
namespace {

TEST(Bench, ReportsSpeedAndLimit) {
  RunConfig config = testing::tiny_config();
  config.bench.prompts = 2;
  config.bench.group = 3;
  config.bench.prompt = 10;
  config.bench.new_tokens = 5;
  const testing::TinyWeights weights(testing::tiny_spec("llama"));
  const auto communicator = comm::make_local_communicator("test");
  const LearnBench result = bench_learn(config, weights, *communicator);
  EXPECT_GT(result.learn_s, 0);
  EXPECT_NEAR(result.tokens_per_s * result.learn_s, 2 * (10 + 3 * 5), 1e-6);
  EXPECT_GT(result.fraction_of_limit, 0);
  EXPECT_LT(result.fraction_of_limit, 1);
  EXPECT_GT(result.peak_rss_bytes, 1000000);
  EXPECT_FALSE(result.bfloat16);
  EXPECT_EQ(result.steps, 2);
  EXPECT_EQ(result.state_bytes, weights.spec().parameter_count() * 16);
  EXPECT_EQ(result.sent_bytes, 0);
  EXPECT_EQ(result.planned_sent_bytes, 0);
  config.bench.steps = 3;
  EXPECT_EQ(bench_learn(config, weights, *communicator).steps, 3);
  config.bench.group = 0;
  EXPECT_THROW(bench_learn(config, weights, *communicator), UserError);
}

}  // namespace
}  // namespace setrl::learn
