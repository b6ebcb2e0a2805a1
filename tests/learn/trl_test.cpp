// Loss and gradient of TRL's GRPOTrainer on a recorded batch (tests/fixtures/learn/make_trl.py) against the learner's.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/communicator.h"
#include "learn/learner.h"

namespace setrl::learn {
namespace {

using Json = nlohmann::json;

std::string fixtures() {
  return std::string(std::getenv("SETRL_FIXTURES")) + "/learn/trl/";
}

Json record() {
  std::ifstream file(fixtures() + "batch.json");
  return Json::parse(file);
}

TrainingBatch batch_of(const Json& record) {
  TrainingBatch batch;
  for (const auto& stored : record.at("groups")) {
    TrainingGroup group;
    group.index = static_cast<std::int64_t>(batch.groups.size());
    group.prompt = stored.at("prompt").get<std::vector<std::int32_t>>();
    for (const auto& completion : stored.at("completions")) {
      TrainingSequence sequence;
      sequence.tokens = completion.at("tokens").get<std::vector<std::int32_t>>();
      sequence.rollout_logprobs = completion.at("rollout_logprobs").get<std::vector<float>>();
      sequence.advantage = completion.at("advantage");
      group.sequences.push_back(std::move(sequence));
    }
    batch.groups.push_back(std::move(group));
  }
  return batch;
}

RunConfig config_of(const Json& record, const Json& test_case) {
  RunConfig config;
  config.model.dtype = "float32";
  config.rollout.temperature = record.at("temperature");
  config.rollout.max_new_tokens = record.at("max_new_tokens");
  auto& learn = config.learn;
  learn.schedule = "constant";
  learn.warmup_fraction = 0;
  learn.grad_clip = 0;
  learn.learning_rate = record.at("learning_rate");
  learn.epsilon = record.at("epsilon");
  learn.mismatch_cap = record.at("mismatch_cap");
  learn.loss = test_case.at("loss");
  learn.ratio = test_case.value("ratio", "token");
  learn.mismatch = test_case.value("mismatch", "none");
  learn.kl_coefficient = test_case.value("kl_coefficient", 0.0);
  learn.clip_high = test_case.value("clip_high", 0.2);
  learn.updates_per_batch = test_case.value("updates", 1);
  return config;
}

// The gradient shows in AdamW's first moment after one update, which is (1 - beta1) of it; after two updates the
// weights are compared.
TEST(Trl, LossAndGradientAreEqual) {
  const Json stored = record();
  const auto weights = model::open_weights(fixtures() + "model");
  const auto batch = batch_of(stored);
  for (const auto& test_case : stored.at("cases")) {
    const std::string name = test_case.at("name");
    const RunConfig config = config_of(stored, test_case);
    const auto communicator = comm::make_local_communicator("test");
    Learner learner(config, *weights, *communicator);
    const StepStats stats = learner.reinforce(batch, 1, 10);
    double loss = 0;
    for (const double value : test_case.at("losses"))
      loss += value / static_cast<double>(test_case.at("losses").size());
    EXPECT_NEAR(stats.loss, loss, 2e-6) << name;

    const bool one_update = config.learn.updates_per_batch == 1;
    const std::string prefix = one_update ? "moment1/" : "parameters/";
    const double scale = one_update ? 1 / (1 - config.learn.beta1) : 1;
    const auto expected = model::open_weights(fixtures() + name);
    int compared = 0;
    for (const auto& view : learner.state()) {
      if (view.name.rfind(prefix, 0) != 0) continue;
      std::vector<float> wanted(static_cast<std::size_t>(view.elements()));
      expected->read(view.name.substr(prefix.size()), 0, view.elements(), wanted.data());
      double difference = 0, size = 0;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        const double ours = scale * static_cast<const float*>(view.data)[i];
        difference += (ours - wanted[i]) * (ours - wanted[i]);
        size += static_cast<double>(wanted[i]) * wanted[i];
      }
      EXPECT_GT(size, 0) << name << " " << view.name;
      EXPECT_LT(std::sqrt(difference), 1e-5 * std::sqrt(size)) << name << " " << view.name;
      ++compared;
    }
    EXPECT_EQ(compared, 21) << name;
  }
}

}  // namespace
}  // namespace setrl::learn
