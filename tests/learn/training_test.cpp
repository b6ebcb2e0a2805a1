// What the learner as a whole does on one rank: it learns, repeats itself, and says the log-probabilities of the model.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "learn/learner.h"
#include "learn/tiny_model.h"

namespace setrl::learn {
namespace {

using namespace testing;

class OneRank {
 public:
  OneRank(const RunConfig& config, const std::string& family)
      : weights(tiny_spec(family)), learner(config, weights, *communicator) {}
  TinyWeights weights;
  std::unique_ptr<comm::Communicator> communicator = comm::make_local_communicator("test");
  Learner learner;

  std::vector<float> state() {
    std::vector<float> values;
    for (const auto& view : learner.state()) {
      const auto* data = static_cast<const float*>(view.data);
      values.insert(values.end(), data, data + (view.end - view.begin));
    }
    return values;
  }
};

TEST(Training, OverfitsATinyBatch) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    RunConfig config = tiny_config();
    config.model.dtype = dtype;
    config.sft.learning_rate = 1e-2;
    OneRank one(config, "llama_tied");
    const auto batch = tiny_batch(one.weights.spec(), 2, {8}, 5, 3);
    StepStats stats;
    const double before = one.learner.imitate(batch, 1, 100).loss;
    for (int step = 2; step <= 100; ++step) stats = one.learner.imitate(batch, step, 100);
    EXPECT_GT(before, 2);
    EXPECT_LT(stats.loss, 0.05) << dtype;
    EXPECT_EQ(stats.tokens, 16);
    EXPECT_EQ(stats.total_tokens, 16 + 11);
  }
}

TEST(Training, ReinforceRaisesWhatHasAPositiveAdvantage) {
  for (const char* ratio : {"token", "sequence", "cispo"}) {
    RunConfig config = tiny_config();
    config.learn.ratio = ratio;
    config.learn.updates_per_batch = 2;
    config.learn.kl_coefficient = 0.01;
    OneRank one(config, "qwen3");
    auto batch = tiny_batch(one.weights.spec(), 2, {6, 8}, 5, 3);
    for (auto& group : batch.groups) {
      group.sequences[0].advantage = 1;
      group.sequences[1].advantage = -1;
    }
    const auto sums = [&] {
      std::vector<double> result(2, 0.0);
      for (const auto& group : one.learner.logprobs(batch, 0.7)) {
        for (std::size_t s = 0; s < 2; ++s) {
          for (const float value : group[s]) result[s] += value;
        }
      }
      return result;
    };
    const auto before = sums();
    StepStats stats;
    for (int step = 1; step <= 10; ++step) stats = one.learner.reinforce(batch, step, 10);
    const auto after = sums();
    EXPECT_GT(after[0], before[0] + 1) << ratio;
    EXPECT_LT(after[1], before[1] - 1) << ratio;
    EXPECT_GT(stats.kl, 0);
    EXPECT_GT(stats.entropy, 0);
    EXPECT_EQ(one.learner.optimizer_steps(), 20);
  }
}

TEST(Training, LogprobsAreThoseOfThePlainModel) {
  OneRank one(tiny_config(), "qwen2");
  auto batch = tiny_batch(one.weights.spec(), 2, {6, 1, 8}, 5, 3);
  batch.groups[1].sequences[2].masked = true;  // has no part in the loss, but log-probabilities all the same
  std::swap(batch.groups[0].index, batch.groups[1].index);
  const auto weights = model::load_all(one.weights, at::kFloat);
  const auto actual = one.learner.logprobs(batch, 1.3);
  for (std::size_t g = 0; g < 2; ++g) {
    for (std::size_t s = 0; s < 3; ++s) {
      const auto& group = batch.groups[g];
      const at::Tensor expected =
          plain_logprobs(one.weights.spec(), weights, group.prompt, group.sequences[s].tokens, 1.3);
      ASSERT_EQ(actual[g][s].size(), group.sequences[s].tokens.size());
      for (std::size_t i = 0; i < actual[g][s].size(); ++i) {
        EXPECT_NEAR(actual[g][s][i], expected[static_cast<std::int64_t>(i)].item<float>(), 2e-5);
      }
    }
  }
}

TEST(Training, TheGapToTheRolloutIsMeasured) {
  OneRank one(tiny_config(), "llama");
  auto batch = tiny_batch(one.weights.spec(), 1, {4, 4}, 5, 3);
  const auto logprobs = one.learner.logprobs(batch, 0.7);
  for (std::size_t s = 0; s < 2; ++s) batch.groups[0].sequences[s].rollout_logprobs = logprobs[0][s];
  batch.groups[0].sequences[1].rollout_logprobs[2] += 0.8f;
  const StepStats stats = one.learner.reinforce(batch, 1, 1);
  EXPECT_NEAR(stats.logprob_gap_max, 0.8, 1e-5);
  EXPECT_NEAR(stats.logprob_gap_mean, 0.1, 1e-5);
}

TEST(Training, RepeatsItselfBitForBitAndUnderCheckpointing) {
  std::vector<std::vector<float>> results;
  for (const char* checkpointing : {"none", "none", "block", "selective"}) {
    RunConfig config = tiny_config();
    config.learn.activation_checkpointing = checkpointing;
    config.learn.micro_batch_tokens = 40;
    OneRank one(config, "qwen2");
    for (int step = 1; step <= 3; ++step) {
      one.learner.reinforce(tiny_batch(one.weights.spec(), 3, {6, 1, 8}, 5, static_cast<std::uint64_t>(step)), step, 3);
    }
    results.push_back(one.state());
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
  EXPECT_EQ(results[0], results[3]);
}

TEST(Training, StateRestoresARun) {
  const RunConfig config = tiny_config();
  OneRank original(config, "llama"), restored(config, "llama");
  const auto batch = [&](int step) {
    return tiny_batch(original.weights.spec(), 2, {6, 8}, 5, static_cast<std::uint64_t>(step));
  };
  for (int step = 1; step <= 2; ++step) original.learner.reinforce(batch(step), step, 4);
  restored.learner.reinforce(batch(9), 1, 4);
  auto from = original.learner.state(), to = restored.learner.state();
  ASSERT_EQ(from.size(), to.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    std::memcpy(to[i].data, from[i].data, static_cast<std::size_t>(from[i].end - from[i].begin) * sizeof(float));
  }
  restored.learner.set_optimizer_steps(original.learner.optimizer_steps());
  for (int step = 3; step <= 4; ++step) {
    original.learner.reinforce(batch(step), step, 4);
    restored.learner.reinforce(batch(step), step, 4);
  }
  EXPECT_EQ(original.state(), restored.state());
  original.learner.reset_optimizer();
  EXPECT_EQ(original.learner.optimizer_steps(), 0);
}

TEST(Training, AnEmptyOrMaskedBatchChangesNothing) {
  OneRank one(tiny_config(), "llama");
  auto batch = tiny_batch(one.weights.spec(), 1, {4}, 5, 3);
  batch.groups[0].sequences[0].masked = true;
  const auto before = one.state();
  EXPECT_EQ(one.learner.reinforce(batch, 1, 1).tokens, 0);
  EXPECT_EQ(one.learner.reinforce({}, 1, 1).loss, 0);
  EXPECT_EQ(one.state(), before);
}

TEST(Training, RefusesSubsetsAsLargeAsTheGroup) {
  RunConfig config = tiny_config();
  config.learn.advantage = "pkpo";
  config.rollout.group_size = config.learn.advantage_k;
  EXPECT_THROW(OneRank(config, "llama"), UserError);
  config.rollout.group_size = config.learn.advantage_k + 1;
  EXPECT_NO_THROW(OneRank(config, "llama"));
}

TEST(Training, ACompletionOfForcedTokensIsLikeAMaskedOne) {
  OneRank forced(tiny_config(), "llama"), masked(tiny_config(), "llama");
  auto batch = tiny_batch(forced.weights.spec(), 1, {4, 6}, 5, 3);
  batch.groups[0].sequences[0].forced.assign(4, 1);
  const auto one = forced.learner.reinforce(batch, 1, 9);
  batch.groups[0].sequences[0].forced.clear();
  batch.groups[0].sequences[0].masked = true;
  const auto other = masked.learner.reinforce(batch, 1, 9);
  EXPECT_EQ(one.tokens, 6);
  EXPECT_EQ(one.loss, other.loss);
  EXPECT_EQ(one.grad_norm, other.grad_norm);
  EXPECT_EQ(forced.state(), masked.state());
  batch.groups[0].sequences[1].forced.assign(6, 1);
  EXPECT_EQ(forced.learner.reinforce(batch, 2, 9).tokens, 0);
  EXPECT_EQ(forced.state(), masked.state());
}

// In no sum and no average, whatever the objective: their recorded log-probabilities, however odd, change nothing, and
// each sum is that of the other tokens.
TEST(Training, ForcedTokensCountNowhere) {
  for (const std::string ratio : {"token", "sequence", "cispo"}) {
    for (const std::string loss : {"token_mean", "sequence_mean", "fixed_length"}) {
      SCOPED_TRACE(ratio + " " + loss);
      RunConfig config = tiny_config();
      config.learn.ratio = ratio;
      config.learn.loss = loss;
      config.learn.mismatch = "truncate";
      config.learn.kl_coefficient = 0.1;
      config.learn.updates_per_batch = 2;
      OneRank one(config, "llama"), other(config, "llama");
      auto batch = tiny_batch(one.weights.spec(), 1, {6}, 5, 3);
      auto& sequence = batch.groups[0].sequences[0];
      sequence.forced = {0, 0, 1, 1, 0, 1};
      const auto stats = one.learner.reinforce(batch, 1, 9);
      for (const std::size_t at : {2, 3, 5}) sequence.rollout_logprobs[at] = -40;
      const auto odd = other.learner.reinforce(batch, 1, 9);
      EXPECT_EQ(stats.tokens, 3);
      EXPECT_EQ(stats.total_tokens, 11);
      EXPECT_EQ(stats.loss, odd.loss);
      EXPECT_EQ(stats.logprob_gap_max, odd.logprob_gap_max);
      EXPECT_EQ(one.state(), other.state());

      // The first update's loss by hand: the policy at its start is the reference, so there is no KL.
      config.learn.updates_per_batch = 1;
      OneRank fresh(config, "llama");
      const auto logprobs = fresh.learner.logprobs(batch, config.rollout.temperature)[0][0];
      ASSERT_EQ(logprobs.size(), 6u);
      double expected = 0, gap = 0;
      for (const std::size_t at : {0, 1, 4}) {
        const double difference = static_cast<double>(logprobs[at]) - sequence.rollout_logprobs[at];
        const double weight = std::min(std::exp(difference), config.learn.mismatch_cap);
        expected -= weight * sequence.advantage * (ratio == "cispo" ? logprobs[at] : 1.0);
        gap += std::abs(difference) / 3;
      }
      const auto first = fresh.learner.reinforce(batch, 1, 9);
      EXPECT_NEAR(first.loss, expected / (loss == "fixed_length" ? config.rollout.max_new_tokens : 3), 1e-5);
      EXPECT_NEAR(first.logprob_gap_mean, gap, 1e-5);
      EXPECT_NEAR(first.kl, 0, 1e-6);
    }
  }
}

TEST(Training, RefusesFloat16) {
  RunConfig config = tiny_config();
  config.model.dtype = "float16";
  EXPECT_THROW(OneRank(config, "llama"), UserError);
}

TEST(Training, StateIsOffloadedFromGpusOnly) {
  RunConfig config = tiny_config();
  config.learn.offload_optimizer = true;
  try {
    OneRank one(config, "llama");
    FAIL() << "it was made";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("learn.offload_optimizer"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace setrl::learn
