// AdamW, clipping and schedules against torch.optim and transformers (tests/fixtures/learn/make_losses.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "learn/kernels.h"
#include "learn/learner.h"
#include "learn/schedule.h"
#include "learn/tiny_model.h"

namespace setrl::learn {
namespace {

using Json = nlohmann::json;

Json fixture() {
  std::ifstream file(std::string(std::getenv("SETRL_FIXTURES")) + "/learn/optimizer.json");
  return Json::parse(file);
}

TEST(Adamw, EqualsTorchOverSeveralSteps) {
  const Json data = fixture();
  for (const auto& run : data.at("adamw")) {
    std::vector<float> weights = run.at("weights");
    std::vector<float> first(weights.size(), 0.0f), second(weights.size(), 0.0f);
    for (std::size_t i = 0; i < run.at("gradients").size(); ++i) {
      const std::vector<float> gradient = run.at("gradients").at(i);
      const double steps = static_cast<double>(i + 1), clip = run.at("clip");
      const double norm =
          std::sqrt(kernels().flat.sum_of_squares(gradient.data(), static_cast<std::int64_t>(gradient.size())));
      AdamwStep step;
      step.learning_rate = 0.01f;
      step.beta1 = 0.9f;
      step.beta2 = 0.98f;
      step.epsilon = 1e-8f;
      step.weight_decay = run.at("weight_decay");
      step.correction1 = static_cast<float>(1 - std::pow(0.9, steps));
      step.correction2 = static_cast<float>(1 - std::pow(0.98, steps));
      step.gradient_scale = clip > 0 ? static_cast<float>(std::min(1.0, clip / (norm + 1e-6))) : 1.0f;
      kernels().flat.adamw(weights.data(), first.data(), second.data(), gradient.data(),
                           static_cast<std::int64_t>(weights.size()), step);
      const std::vector<double> expected = run.at("after").at(i);
      for (std::size_t j = 0; j < expected.size(); ++j) EXPECT_NEAR(weights[j], expected[j], 2e-6);
    }
  }
}

// transformers starts its warm-up at 0; ours is one step ahead there, and equal afterwards.
TEST(Schedule, EqualsTransformersButForTheStartOfTheWarmUp) {
  const Json data = fixture();
  for (const auto& run : data.at("schedules")) {
    const std::int64_t total = run.at("total");
    const int warmup = run.at("warmup");
    const std::vector<double> expected = run.at("factors");
    for (std::int64_t step = 1; step <= total; ++step) {
      const double factor =
          schedule_factor(run.at("kind"), (warmup - 0.5 * (warmup > 0)) / static_cast<double>(total), step, total);
      const auto done = static_cast<std::size_t>(step - 1);
      EXPECT_NEAR(factor, step <= warmup ? static_cast<double>(step) / warmup : expected[done], 1e-12)
          << run.at("kind") << " step " << step << " of " << total;
      EXPECT_GT(factor, 0);
    }
  }
  EXPECT_THROW(schedule_factor("square", 0, 1, 10), UserError);
}

TEST(Optimizer, DecaysMatricesOnly) {
  RunConfig config = testing::tiny_config();
  config.learn.weight_decay = 0.5;
  config.learn.learning_rate = 0.1;
  config.learn.epsilon = 1e30;  // the gradient's part vanishes, the decay stays
  const testing::TinyWeights weights(testing::tiny_spec("qwen2"));
  const auto communicator = comm::make_local_communicator("test");
  Learner learner(config, weights, *communicator);
  learner.reinforce(testing::tiny_batch(weights.spec(), 1, {3, 4}, 5, 1), 1, 1);
  EXPECT_EQ(learner.optimizer_steps(), 1);
  learner.for_each_parameter([&](const model::ParameterSpec& parameter, const at::Tensor& tensor) {
    const at::Tensor before = at::empty(parameter.shape, at::kFloat);
    weights.read(parameter.name, 0, parameter.elements(), before.data_ptr<float>());
    const double factor = parameter.shape.size() > 1 ? 0.95 : 1.0;
    EXPECT_TRUE(at::allclose(tensor, before * factor, 1e-6, 1e-7)) << parameter.name;
  });
}

TEST(Optimizer, SkipsStepsThatAreNotFiniteAndStopsAfterTheLimit) {
  RunConfig config = testing::tiny_config();
  config.learn.max_skipped_steps = 2;
  const testing::TinyWeights weights(testing::tiny_spec("llama"));
  const auto communicator = comm::make_local_communicator("test");
  Learner learner(config, weights, *communicator);
  const auto good = testing::tiny_batch(weights.spec(), 1, {3, 4}, 5, 1);
  auto bad = good;
  bad.groups[0].sequences[0].advantage = std::nan("");
  const auto snapshot = [&] {
    std::vector<float> values;
    for (const auto& view : learner.state()) {
      const auto* data = static_cast<const float*>(view.data);
      values.insert(values.end(), data, data + (view.end - view.begin));
    }
    return values;
  };
  const auto before = snapshot();
  EXPECT_TRUE(learner.reinforce(bad, 1, 10).skipped);
  EXPECT_TRUE(learner.reinforce(bad, 2, 10).skipped);
  EXPECT_EQ(snapshot(), before);
  EXPECT_EQ(learner.optimizer_steps(), 0);
  EXPECT_FALSE(learner.reinforce(good, 3, 10).skipped);
  EXPECT_NE(snapshot(), before);
  EXPECT_TRUE(learner.reinforce(bad, 4, 10).skipped);
  EXPECT_TRUE(learner.reinforce(bad, 5, 10).skipped);
  EXPECT_THROW(learner.reinforce(bad, 6, 10), UserError);
}

}  // namespace
}  // namespace setrl::learn
