// Every combination of loss, ratio, mismatch correction and KL against tests/fixtures/learn/make_losses.py.
#include "learn/objective.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "learn/normalisation.h"

namespace setrl::learn {
namespace {

using Json = nlohmann::json;
using Rows = std::vector<std::vector<float>>;

Json fixture(const std::string& name) {
  std::ifstream file(std::string(std::getenv("SETRL_FIXTURES")) + "/learn/" + name);
  return Json::parse(file);
}

LearnSection options(const Json& one, double cap) {
  LearnSection config;
  config.loss = one.at("loss");
  config.ratio = one.at("ratio");
  config.mismatch = one.at("mismatch");
  config.mismatch_cap = cap;
  config.clip_low = one.at("clip_low");
  config.clip_high = one.at("clip_high");
  config.kl_coefficient = one.at("kl");
  return config;
}

TEST(Objective, EqualsTheIndependentCalculation) {
  const Json data = fixture("losses.json");
  const Rows logprobs = data.at("logprobs"), old = data.at("old"), rollout = data.at("rollout"),
             reference = data.at("reference");
  const std::vector<double> advantages = data.at("advantages");
  BatchTotals totals;
  for (const auto& row : logprobs) {
    totals.tokens += static_cast<double>(row.size());
    totals.sequences += 1;
  }
  ASSERT_GE(data.at("cases").size(), 108u);
  for (const auto& one : data.at("cases")) {
    const LearnSection config = options(one, data.at("cap"));
    const auto objective = make_policy_objective(config);
    ObjectiveSums sums;
    for (std::size_t s = 0; s < logprobs.size(); ++s) {
      const auto count = static_cast<std::int64_t>(logprobs[s].size());
      // Objectives that work token by token must give the same in pieces.
      const std::int64_t piece = objective->whole_sequences() ? count : 2;
      std::vector<float> gradient(logprobs[s].size());
      for (std::int64_t begin = 0; begin < count; begin += piece) {
        TokenSpan span;
        span.count = std::min(piece, count - begin);
        span.logprob = logprobs[s].data() + begin;
        span.old_logprob = one.at("first").get<bool>() ? nullptr : old[s].data() + begin;
        span.rollout_logprob = rollout[s].data() + begin;
        span.reference_logprob = config.kl_coefficient > 0 ? reference[s].data() + begin : nullptr;
        span.advantage = advantages[s];
        span.token_weight = token_weight(config.loss, totals, count, data.at("max_length"));
        objective->evaluate(span, gradient.data() + begin, sums);
      }
      const std::vector<double> expected = one.at("gradient").at(s);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(gradient[i], expected[i], 1e-6) << one.dump() << " sequence " << s << " token " << i;
      }
    }
    EXPECT_NEAR(sums.loss, one.at("value"), 1e-6) << one.dump();
  }
}

TEST(Objective, CountsClippedTokens) {
  LearnSection config;
  const std::vector<float> now{0, 0, 0, 0}, old{-0.5f, 0.5f, -0.1f, -0.5f};
  TokenSpan span;
  span.count = 4;
  span.logprob = now.data();
  span.old_logprob = old.data();
  span.token_weight = 1;
  std::vector<float> gradient(4);
  for (const auto& [advantage, clipped] : {std::pair{1.0, 2.0}, {-1.0, 1.0}}) {
    ObjectiveSums sums;
    span.advantage = advantage;
    make_policy_objective(config)->evaluate(span, gradient.data(), sums);
    EXPECT_EQ(sums.clipped, clipped);
    EXPECT_EQ(std::count(gradient.begin(), gradient.end(), 0.0f), static_cast<std::ptrdiff_t>(clipped));
  }
}

TEST(Objective, ImitationIsTheMeanNegativeLogLikelihood) {
  const std::vector<float> logprobs{-1, -2, -4.5f};
  TokenSpan span;
  span.count = 3;
  span.logprob = logprobs.data();
  span.token_weight = token_weight("token_mean", {3, 1}, 3, 9);
  ObjectiveSums sums;
  std::vector<float> gradient(3);
  make_imitation_objective()->evaluate(span, gradient.data(), sums);
  EXPECT_NEAR(sums.loss, 2.5, 1e-12);
  for (const float value : gradient) EXPECT_FLOAT_EQ(value, -1.0f / 3);
}

TEST(Objective, RefusesUnknownKinds) {
  LearnSection config;
  config.ratio = "word";
  EXPECT_THROW(make_policy_objective(config), UserError);
  config = {};
  config.mismatch = "ignore";
  EXPECT_THROW(make_policy_objective(config), UserError);
  EXPECT_THROW(token_weight("median", {1, 1}, 1, 1), UserError);
}

}  // namespace
}  // namespace setrl::learn
