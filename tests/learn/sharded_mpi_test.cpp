// N ranks against one: the same batches, trained sharded over all ranks and by each rank alone.
#include <gtest/gtest.h>

#include <cmath>

#include "learn/advantage.h"
#include "learn/learner.h"
#include "learn/memory.h"
#include "learn/tiny_model.h"
#include "support/mpi_world.h"

namespace setrl::learn {
namespace {

using namespace testing;
using setrl::testing::world;

// This rank's groups.
TrainingBatch share(const TrainingBatch& batch) {
  std::vector<std::int64_t> tokens;
  for (const auto& group : batch.groups) tokens.push_back(group.token_count());
  const auto target = balance(tokens, world().size());
  TrainingBatch result;
  result.step = batch.step;
  for (std::size_t i = 0; i < batch.groups.size(); ++i) {
    if (target[i] == world().rank()) result.groups.push_back(batch.groups[i]);
  }
  return result;
}

std::map<std::string, at::Tensor> parameters(Learner& learner) {
  std::map<std::string, at::Tensor> result;
  learner.for_each_parameter([&](const model::ParameterSpec& parameter, const at::Tensor& tensor) {
    result[parameter.name] = tensor.clone();
  });
  return result;
}

void compare(const RunConfig& config, const std::string& family, int groups) {
  const TinyWeights weights(tiny_spec(family));
  const auto alone = comm::make_local_communicator("alone");
  Learner sharded(config, weights, world()), single(config, weights, *alone);
  for (int step = 1; step <= 4; ++step) {
    const auto batch = tiny_batch(weights.spec(), groups, {6, 1, 8}, 5, static_cast<std::uint64_t>(step));
    const StepStats a = step == 1 ? sharded.imitate(share(batch), step, 4) : sharded.reinforce(share(batch), step, 4);
    const StepStats b = step == 1 ? single.imitate(batch, step, 4) : single.reinforce(batch, step, 4);
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.total_tokens, b.total_tokens);
    EXPECT_EQ(a.learning_rate, b.learning_rate);
    for (const auto& [ours, theirs] : {std::pair{a.loss, b.loss},
                                       {a.grad_norm, b.grad_norm},
                                       {a.entropy, b.entropy},
                                       {a.kl, b.kl},
                                       {a.clip_fraction, b.clip_fraction},
                                       {a.logprob_gap_mean, b.logprob_gap_mean},
                                       {a.logprob_gap_max, b.logprob_gap_max}}) {
      EXPECT_NEAR(ours, theirs, 1e-5 * (std::abs(theirs) + 0.1)) << "step " << step;
    }
  }
  const auto ours = parameters(sharded), theirs = parameters(single);
  for (const auto& [name, expected] : theirs) {
    const double scale = expected.abs().max().item<double>();
    EXPECT_LT((ours.at(name) - expected).abs().max().item<double>(), 1e-5 * scale) << name;
  }
}

RunConfig smooth_config() {
  RunConfig config = tiny_config();
  config.learn.epsilon = 1e-4;  // near zero AdamW's first steps depend on a gradient's sign alone, however small it is
  return config;
}

TEST(Sharded, EqualsOneRank) {
  for (const char* family : {"llama", "llama_tied", "qwen2", "qwen3"}) compare(smooth_config(), family, 6);
}

TEST(Sharded, EqualsOneRankWithUnequalMicroBatches) {
  RunConfig config = smooth_config();
  config.learn.micro_batch_tokens = 25;
  config.learn.activation_checkpointing = "block";
  compare(config, "llama_tied", 3);
  compare(config, "llama", 1);  // the other ranks have nothing to do but to take part
}

TEST(Sharded, EqualsOneRankWithAdapters) {
  RunConfig config = smooth_config();
  config.learn.lora_rank = 3;
  config.learn.lora_targets = "q_proj,o_proj,up_proj";
  config.learn.kl_coefficient = 0.1;
  config.learn.updates_per_batch = 2;
  compare(config, "qwen2", 5);
}

TEST(Sharded, EqualsOneRankWithEveryOption) {
  RunConfig config = smooth_config();
  config.learn.updates_per_batch = 2;
  config.learn.kl_coefficient = 0.1;
  config.learn.ratio = "sequence";
  config.learn.mismatch = "truncate";
  config.learn.loss = "sequence_mean";
  config.learn.weight_decay = 0.1;
  compare(config, "qwen3", 5);
}

// What is kept, computed again or gathered again changes no bit.
TEST(Sharded, MemoryOptionsChangeNoBit) {
  const TinyWeights weights(tiny_spec("qwen3"));
  std::vector<std::map<std::string, at::Tensor>> results;
  for (const bool reshard : {true, false}) {
    for (const char* checkpointing : {"none", "block", "selective"}) {
      RunConfig config = tiny_config();
      config.learn.reshard_after_forward = reshard;
      config.learn.activation_checkpointing = checkpointing;
      config.learn.micro_batch_tokens = 40;
      config.learn.kl_coefficient = 0.1;
      config.learn.updates_per_batch = 2;
      Learner learner(config, weights, world());
      for (int step = 1; step <= 2; ++step) {
        learner.reinforce(share(tiny_batch(weights.spec(), 5, {6, 8}, 5, static_cast<std::uint64_t>(step))), step, 3);
      }
      results.push_back(parameters(learner));
    }
  }
  for (std::size_t i = 1; i < results.size(); ++i) {
    for (const auto& [name, tensor] : results[0]) EXPECT_TRUE(at::equal(tensor, results[i].at(name))) << name;
  }
}

TEST(Sharded, EveryElementLiesOnOneRank) {
  const TinyWeights weights(tiny_spec("qwen2"));
  Learner learner(tiny_config(), weights, world());
  std::vector<double> sizes;
  std::vector<double> expected;
  for (const auto& view : learner.state()) {
    sizes.push_back(static_cast<double>(view.end - view.begin));
    expected.push_back(static_cast<double>(view.elements()));
    if (view.name.rfind("parameters/", 0) != 0) continue;
    std::vector<float> wanted(static_cast<std::size_t>(view.end - view.begin));
    weights.read(view.name.substr(11), view.begin, view.end, wanted.data());
    for (std::size_t i = 0; i < wanted.size(); ++i)
      ASSERT_EQ(static_cast<const float*>(view.data)[i], wanted[i]) << view.name;
  }
  world().all_reduce(sizes.data(), sizes.size(), comm::Reduction::sum);
  EXPECT_EQ(sizes, expected);
}

TEST(Sharded, StateAndTrafficFollowTheArithmetic) {
  const TinyWeights weights(tiny_spec("llama"));
  const auto& spec = weights.spec();
  const int ranks = world().size();
  const auto whole = static_cast<double>(state_bytes(spec, {}, 4, 1).sum());
  EXPECT_EQ(whole, static_cast<double>(spec.parameter_count() * 16));
  EXPECT_NEAR(static_cast<double>(state_bytes(spec, {}, 4, ranks).sum()), whole / ranks, 16.0 * 4 * ranks);
  for (const bool reshard : {true, false}) {
    for (const int low_rank : {0, 3}) {
      RunConfig config = tiny_config();
      config.learn.reshard_after_forward = reshard;
      config.learn.lora_rank = low_rank;
      config.learn.micro_batch_tokens = 40;
      Learner learner(config, weights, world());
      double held = 0;
      for (const auto& view : learner.state()) held += 4 * static_cast<double>(view.end - view.begin);
      world().all_reduce(&held, 1, comm::Reduction::max);
      const StateBytes planned = state_bytes(spec, config.learn, 4, ranks);
      const double trained = static_cast<double>(planned.gradients) * 3;  // weights and two moments
      EXPECT_LE(held, trained);
      EXPECT_GT(held, trained - 16.0 * 4 * ranks * static_cast<double>(spec.layers + 2));
      const auto batch = share(tiny_batch(spec, 5, {6, 8}, 5, 1));
      learner.reinforce(batch, 1, 3);  // makes the communicator of the requests
      const std::uint64_t before = world().bytes_sent();
      const StepStats stats = learner.reinforce(batch, 2, 3);
      const auto sent = static_cast<double>(world().bytes_sent() - before);
      if (ranks < 3) {
        EXPECT_GT(stats.micro_batches, 1);  // beyond, a rank has one group
      }
      const auto expected = static_cast<double>(update_bytes_sent(spec, config.learn, 4, ranks, stats.micro_batches));
      EXPECT_GE(sent, expected);
      EXPECT_LT(sent, expected + 300.0 * (ranks - 1) + 1) << "and a few agreed sums";
    }
  }
}

TEST(Sharded, RepeatsItselfBitForBit) {
  const TinyWeights weights(tiny_spec("llama"));
  std::vector<std::map<std::string, at::Tensor>> results;
  for (int run = 0; run < 2; ++run) {
    Learner learner(tiny_config(), weights, world());
    for (int step = 1; step <= 3; ++step) {
      learner.reinforce(share(tiny_batch(weights.spec(), 5, {6, 8}, 5, static_cast<std::uint64_t>(step))), step, 3);
    }
    results.push_back(parameters(learner));
  }
  for (const auto& [name, tensor] : results[0]) EXPECT_TRUE(at::equal(tensor, results[1].at(name))) << name;
}

}  // namespace
}  // namespace setrl::learn
