// The learner on a real GPU against the learner on the CPU. Skipped, loudly, where there is none; with two ranks also
// its gathers and reductions over NCCL.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "comm/device.h"
#include "learn/learner.h"
#include "learn/tiny_model.h"
#include "support/mpi_world.h"

namespace setrl::learn {
namespace {

using namespace testing;
using setrl::testing::runtime;
using setrl::testing::world;

class LearnerOnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(comm::select_device(world())));
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
    host_ = world().split(0, "host");
    gpus_ = comm::make_device_communicator(runtime(), world().split(0, "gpus"));
  }
  std::unique_ptr<Learner> on_cpu(const RunConfig& config, const TinyWeights& weights) {
    return std::make_unique<Learner>(config, weights, *host_);
  }
  std::unique_ptr<Learner> on_gpu(const RunConfig& config, const TinyWeights& weights) {
    return std::make_unique<Learner>(config, weights, *gpus_, device_);
  }
  // This rank's share.
  TrainingBatch batch(const model::ModelSpec& spec) const {
    return tiny_batch(spec, 3, {9, 4, 6}, 7, 11 + static_cast<std::uint64_t>(world().rank()));
  }
  at::Device device_ = at::kCPU;
  std::unique_ptr<comm::Communicator> host_, gpus_;
};

std::vector<float> values(Learner& learner) {
  std::vector<float> result;
  for (const auto& view : learner.state()) {
    const auto* data = static_cast<const float*>(view.data);
    result.insert(result.end(), data, data + (view.end - view.begin));
  }
  return result;
}

TEST_F(LearnerOnGpu, LogProbabilitiesAreTheCpus) {
  for (const char* family : {"llama_tied", "qwen2", "qwen3"}) {
    for (const char* dtype : {"float32", "bfloat16"}) {
      RunConfig config = tiny_config();
      config.model.dtype = dtype;
      const TinyWeights weights(tiny_spec(family));
      const auto cpu = on_cpu(config, weights)->logprobs(batch(weights.spec()), 0.7);
      const auto gpu = on_gpu(config, weights)->logprobs(batch(weights.spec()), 0.7);
      const double bound = config.model.dtype == "float32" ? 1e-4 : 2e-2;
      ASSERT_EQ(cpu.size(), gpu.size());
      double sum = 0, count = 0;
      for (std::size_t g = 0; g < cpu.size(); ++g) {
        for (std::size_t s = 0; s < cpu[g].size(); ++s) {
          for (std::size_t i = 0; i < cpu[g][s].size(); ++i) {
            sum += std::abs(cpu[g][s][i] - gpu[g][s][i]);
            ++count;
            if (bound < 1e-3) {
              EXPECT_NEAR(cpu[g][s][i], gpu[g][s][i], bound) << family;
            }
          }
        }
      }
      EXPECT_LT(sum / count, bound) << family << ' ' << dtype;
    }
  }
}

TEST_F(LearnerOnGpu, AStepIsTheCpus) {
  for (const char* checkpointing : {"none", "block"}) {
    RunConfig config = tiny_config();
    config.learn.kl_coefficient = 0.05;
    config.learn.updates_per_batch = 2;
    config.learn.weight_decay = 0.1;
    config.learn.activation_checkpointing = checkpointing;
    const TinyWeights weights(tiny_spec("qwen3"));
    const auto cpu = on_cpu(config, weights), gpu = on_gpu(config, weights);
    for (std::int64_t step = 1; step <= 3; ++step) {
      const auto a = cpu->reinforce(batch(weights.spec()), step, 10),
                 b = gpu->reinforce(batch(weights.spec()), step, 10);
      EXPECT_NEAR(a.loss, b.loss, 1e-4);
      EXPECT_NEAR(a.entropy, b.entropy, 1e-4);
      EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-3 * a.grad_norm);
    }
  }
}

TEST_F(LearnerOnGpu, RepeatsItselfAndOffloadingChangesNothing) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    RunConfig config = tiny_config();
    config.model.dtype = dtype;
    const TinyWeights weights(tiny_spec("qwen2"));
    std::vector<std::vector<float>> states;
    for (const bool offload : {false, false, true}) {
      config.learn.offload_optimizer = offload;
      const auto learner = on_gpu(config, weights);
      for (std::int64_t step = 1; step <= 2; ++step) learner->reinforce(batch(weights.spec()), step, 10);
      states.push_back(values(*learner));
    }
    EXPECT_EQ(states[0], states[1]) << dtype;
    EXPECT_EQ(states[0], states[2]) << dtype;
  }
}

TEST_F(LearnerOnGpu, StateThatWasWrittenIsTaken) {
  RunConfig config = tiny_config();
  const TinyWeights weights(tiny_spec("llama"));
  for (const bool offload : {false, true}) {
    config.learn.offload_optimizer = offload;
    const auto trained = on_gpu(config, weights), fresh = on_gpu(config, weights);
    trained->reinforce(batch(weights.spec()), 1, 10);
    const auto from = trained->state(), to = fresh->state();
    for (std::size_t i = 0; i < from.size(); ++i) {
      std::copy_n(static_cast<const float*>(from[i].data), from[i].end - from[i].begin,
                  static_cast<float*>(to[i].data));
    }
    fresh->adopt_state();
    EXPECT_EQ(trained->logprobs(batch(weights.spec()), 1), fresh->logprobs(batch(weights.spec()), 1));
  }
}

}  // namespace
}  // namespace setrl::learn
