// The arithmetic of plans: against published sizes, against itself, and for 1 to 4,096 ranks.
#include "topology/forecast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "topology/forecast_text.h"
#include "topology/split.h"

namespace setrl::topology {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

RunConfig gpu_run() {
  RunConfig config;
  config.model.dtype = "bfloat16";
  config.task.prompts_per_step = 48;
  config.task.max_prompt_tokens = 1024;
  config.rollout.group_size = 32;
  config.rollout.max_new_tokens = 1536;
  config.rollout.max_batch = 256;
  config.learn.micro_batch_tokens = 16384;
  config.learn.activation_checkpointing = "block";
  config.rollout.tensor_parallel = 8;
  config.topology.learner = 128;
  config.topology.rollout = 64;
  config.topology.verifier = 8;
  auto& machine = config.machine;
  machine.device = "gpu";
  machine.devices_per_node = 8;
  machine.cores_per_node = 96;
  machine.memory_gb = 2000;
  machine.device_memory_gb = 80;
  machine.tflops_bfloat16 = 989;
  machine.memory_gb_s = 3350;
  machine.link_gb_s = 450;
  machine.network_gb_s = 400;
  machine.disk_gb_s = 5;
  machine.disk_total_gb_s = 100;
  machine.learn_efficiency = 0.4;
  return config;
}

Forecast forecast_of(const RunConfig& config, const char* model = "llama3-70b") {
  return forecast(config, known_shape(model), planned_ranks(config));
}

TEST(Shape, HasThePublishedNumbersOfParameters) {
  EXPECT_EQ(known_shape("smollm2-135m").parameters(), 134'515'008);
  EXPECT_EQ(known_shape("qwen2.5-1.5b").parameters(), 1'543'714'304);
  EXPECT_EQ(known_shape("llama3-8b").parameters(), 8'030'261'248);
  EXPECT_EQ(known_shape("qwen3-8b").parameters(), 8'190'735'360);
  EXPECT_EQ(known_shape("llama3-70b").parameters(), 70'553'706'496);
  EXPECT_EQ(known_shape("qwen2.5-72b").parameters(), 72'706'203'648);
  for (std::size_t i = 1; i < known_shapes().size(); ++i) {
    EXPECT_LT(known_shapes()[i - 1].parameters(), known_shapes()[i].parameters());
  }
  try {
    known_shape("llama3-71b", "bench.shape");
    FAIL() << "a shape that is not there";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("bench.shape"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("qwen2.5-1.5b"));
  }
}

TEST(Shape, HasThePublishedSizeOfTheCache) {
  // Llama-3 70B in bfloat16: 320 KiB a token.
  EXPECT_EQ(known_shape("llama3-70b").kv_elements() * 2, 327'680);
}

TEST(Memory, OfTheOptimizerIsSixteenBytesAParameterOverAllLearners) {
  const RunConfig config = gpu_run();
  const Forecast f = forecast_of(config);
  const double parameters = static_cast<double>(f.shape.parameters());
  const double state = f.learner.weights + f.learner.optimizer + 4 * parameters / 128;  // its own gradient shard
  EXPECT_NEAR(state * 128 / (16 * parameters), 1, 1e-3);
  EXPECT_EQ(f.checkpoint_bytes, 12 * parameters);
}

TEST(Memory, ShrinksWithRanksAndGrowsWithTokens) {
  RunConfig config = gpu_run();
  double before = 1e30;
  for (const int learners : {16, 32, 64, 128, 256, 1024}) {
    config.topology.learner = learners;
    const double now = forecast_of(config).learner.total();
    EXPECT_LT(now, before) << learners;
    before = now;
  }
  config = gpu_run();
  const Forecast with = forecast_of(config);
  config.learn.activation_checkpointing = "none";
  EXPECT_GT(forecast_of(config).learner.activations, 5 * with.learner.activations);
  config.rollout.max_batch = 128;
  EXPECT_LT(forecast_of(config).rollout.kv_cache, with.rollout.kv_cache);
  config.rollout.tensor_parallel = 4;
  EXPECT_NEAR(forecast_of(config).rollout.weights, 2 * with.rollout.weights, 1);
}

TEST(Memory, OfARankWithAllRolesIsLessThanTheSumOfSeparateOnes) {
  RunConfig config;
  config.machine.memory_gb = 64;
  const auto& shape = known_shape("smollm2-135m");
  const Forecast one = forecast(config, shape, 1);
  EXPECT_LT(one.largest_rank_bytes, one.learner.total() + one.rollout.total());
  EXPECT_GT(one.largest_rank_bytes, one.learner.total());
  EXPECT_DOUBLE_EQ(one.largest_rank_bytes, one.fullest_node_bytes);
}

TEST(Traffic, FollowsFromTheFormulasOfShardedTraining) {
  RunConfig config = gpu_run();
  config.plan.prompt_tokens = 200;
  config.plan.new_tokens = 100;  // 48 groups of 3,400 rows on 128 ranks: one group, one micro-batch each
  const Forecast f = forecast_of(config);
  EXPECT_EQ(f.traffic.micro_batches, 1);
  const double all = static_cast<double>(f.shape.parameters()) * 127 / 128;
  EXPECT_NEAR(f.traffic.reduce_scatter, 4 * all, 1);
  EXPECT_NEAR(f.traffic.push_send * 127, 2 * all, 1);
  const double replicas = f.where.rollout.ranks / static_cast<double>(f.work.tensor_parallel);
  EXPECT_NEAR(f.traffic.push_relay, f.traffic.push * (1 - 1 / replicas), 1);
  EXPECT_LT(f.traffic.gather, 4 * all);  // embedding and head are gathered once
  EXPECT_GT(f.traffic.gather, 0.95 * 4 * all);
  config.topology.learner = 1;
  EXPECT_EQ(forecast_of(config).traffic.gather, 0);
}

TEST(MicroBatches, SplitLargeGroupsAndJoinSmallOnes) {
  Workload work;
  work.prompts = 8;
  work.group = 4;
  work.prompt_tokens = 100;
  work.new_tokens = 50;  // 300 rows a group
  work.micro_batch_tokens = 1000;
  EXPECT_EQ(micro_batches(work, 8).count, 3);
  EXPECT_EQ(micro_batches(work, 8).rows, 900);
  EXPECT_EQ(micro_batches(work, 1).count, 1);
  work.micro_batch_tokens = 210;  // prompt and two completions
  EXPECT_EQ(micro_batches(work, 8).count, 16);
  EXPECT_EQ(micro_batches(work, 8).rows, 200);
  EXPECT_EQ(micro_batches(work, 0).count, 0);
}

TEST(StepTime, IsTheArithmeticOfAWholeStepOnOneDevice) {
  RunConfig config = gpu_run();
  config.topology = {};
  config.plan = {};
  config.rollout.tensor_parallel = 1;
  config.machine.devices_per_node = 1;
  config.learn.activation_checkpointing = "none";
  config.machine.memory_gb_s = 1e9;  // arithmetic alone
  const auto& shape = known_shape("llama3-8b");
  const Forecast f = forecast(config, shape, 1);
  // 6 x parameters x tokens, plus attention: below a third more here.
  const double tokens = 48.0 * (1024 + 32 * 1536);
  const double least = 6 * static_cast<double>(shape.parameters()) * tokens * 0.95;
  EXPECT_GT(f.learn_flops, least);
  EXPECT_LT(f.learn_flops, 1.35 * least);
  EXPECT_NEAR(f.time.learn_compute, f.learn_flops / (989e12 * 0.4), 1e-3 * f.time.learn_compute);
  EXPECT_EQ(f.time.learn_gather, 0);
}

TEST(StepTime, OfDecodingOneSequenceIsReadingTheWeights) {
  RunConfig config = gpu_run();
  config.topology = {};
  config.plan = {};
  config.rollout.tensor_parallel = 1;
  config.machine.devices_per_node = 1;
  config.task.prompts_per_step = 1;
  config.rollout.group_size = 1;
  const auto& shape = known_shape("llama3-8b");
  const Forecast f = forecast(config, shape, 1);
  const double weights = 2.0 * static_cast<double>(shape.parameters() - shape.embedding_elements());
  EXPECT_NEAR(f.time.decode, 1536 * weights / 3350e9, 0.05 * f.time.decode);
}

// What holds for any number of ranks: sums, signs, and no misfit that comes from the arithmetic itself.
TEST(Forecast, WorksForOneTo4096Ranks) {
  for (const char* model : {"smollm2-135m", "llama3-70b"}) {
    double pushed = -1;
    for (int ranks = 1; ranks <= 4096; ranks = ranks < 16 ? ranks + 1 : ranks * 2) {
      RunConfig config = gpu_run();
      config.topology = {};
      config.rollout.tensor_parallel = 1;
      config.task.prompts_per_step = 4096;
      config.plan.ranks = ranks;
      const Forecast f = forecast(config, known_shape(model), ranks);
      EXPECT_EQ(f.plan.ranks.size(), static_cast<std::size_t>(ranks));
      EXPECT_EQ(f.where.nodes, (ranks + 7) / 8);
      for (const double value : {f.learner.total(), f.rollout.total(), f.verifier.total(), f.time.step, f.time.learn,
                                 f.time.rollout(), f.time.checkpoint, f.largest_rank_bytes, f.fullest_node_bytes}) {
        EXPECT_TRUE(std::isfinite(value) && value > 0) << ranks << " ranks";
      }
      EXPECT_GE(f.time.step, f.time.rollout() + f.time.learn);
      EXPECT_GE(f.time.sync, 0);
      if (pushed >= 0) {
        EXPECT_EQ(f.traffic.push, pushed) << "a whole copy, however many ranks";
      }
      pushed = f.traffic.push;
      EXPECT_FALSE(describe(f, config.machine).empty());
    }
  }
}

TEST(Forecast, MoreRanksOfBothKindsShortenTheStep) {
  RunConfig config = gpu_run();
  config.task.prompts_per_step = 512;
  double before = 1e30;
  for (const int factor : {1, 2, 4}) {
    config.topology.learner = 64 * factor;
    config.topology.rollout = 64 * factor;
    const double now = forecast_of(config).time.step;
    EXPECT_LT(now, before) << factor;
    before = now;
  }
}

TEST(Check, NamesWhatDoesNotFitAndWhatToChange) {
  RunConfig config = gpu_run();
  EXPECT_TRUE(forecast_of(config).misfits.empty()) << forecast_of(config).misfits.front();
  config.topology.learner = 8;
  EXPECT_THAT(forecast_of(config).misfits,
              Contains(::testing::AllOf(HasSubstr("learner rank needs"), HasSubstr("topology.learner more ranks"))));
  config = gpu_run();
  config.learn.activation_checkpointing = "none";
  config.learn.micro_batch_tokens = 65536;
  EXPECT_THAT(forecast_of(config).misfits, Contains(HasSubstr("activation_checkpointing = block")));
  config = gpu_run();
  config.rollout.tensor_parallel = 1;
  EXPECT_THAT(forecast_of(config).misfits,
              Contains(::testing::AllOf(HasSubstr("rollout rank needs"), HasSubstr("raise rollout.tensor_parallel"))));
  config = gpu_run();
  config.rollout.tensor_parallel = 5;
  EXPECT_THROW(forecast_of(config), UserError);
  config.rollout.tensor_parallel = 16;
  EXPECT_THAT(forecast_of(config).misfits,
              Contains(HasSubstr("rollout.tensor_parallel = 16 does not divide 64 heads, 8 key/value heads")));
  config = gpu_run();
  config.learn.micro_batch_tokens = 2000;
  EXPECT_THAT(forecast_of(config).misfits, Contains(HasSubstr("learn.micro_batch_tokens = 2000")));
  config = gpu_run();
  config.machine.memory_gb = 40;
  EXPECT_THAT(forecast_of(config).misfits, Contains(HasSubstr("fullest node")));
  EXPECT_THAT(describe(forecast_of(config), config.machine), HasSubstr("DOES NOT FIT"));
}

TEST(Notes, NameRanksWithoutWork) {
  const Forecast f = forecast_of(gpu_run());
  EXPECT_THAT(f.notes, Contains(HasSubstr("48 problems a step keep 48 of 128 learner ranks busy")));
  EXPECT_EQ(f.notes.size(), 1u);  // eight engines have six problems each
}

TEST(Split, IsTheQuickestThatFits) {
  RunConfig config = gpu_run();
  config.topology = {};
  const auto& shape = known_shape("llama3-70b");
  const int ranks = 28 * 8;
  const auto best = best_split(config, shape, ranks);
  ASSERT_TRUE(best);
  EXPECT_EQ(best->learner + best->rollout + best->verifier, ranks);
  EXPECT_EQ(best->learner % 8, 0);
  config.topology = *best;
  const Forecast chosen = forecast(config, shape, ranks);
  EXPECT_TRUE(chosen.misfits.empty());
  for (const int moved : {-16, 16}) {
    RunConfig other = config;
    other.topology.learner += moved;
    other.topology.rollout -= moved;
    const Forecast f = forecast(other, shape, ranks);
    if (f.misfits.empty()) {
      EXPECT_LE(chosen.time.step, f.time.step);
    }
  }
  RunConfig small = gpu_run();
  small.topology = {};
  EXPECT_FALSE(best_split(small, shape, 24)) << "70B does not fit three nodes";
}

}  // namespace
}  // namespace setrl::topology
