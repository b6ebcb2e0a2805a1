// A real model: how far the engine's log-probabilities of what it sampled lie from the learner's, for the same weights.
// The distribution is printed (docs/results/rollout.md); the bounds are what a step may rely on.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "comm/communicator.h"
#include "learn/learner.h"
#include "rollout/load.h"
#include "smollm2.h"
#include "support.h"

namespace setrl::rollout {
namespace {

class LogprobGapTest : public WithSmolLm2 {
 protected:
  // |rollout - learner| of 8 prompts x 4 samples of 48 tokens at temperature 1, sorted.
  std::vector<double> gaps(const char* dtype) {
    const at::ScalarType type = std::string(dtype) == "float32" ? at::kFloat : at::kBFloat16;
    TrainingBatch batch;
    {
      Engine engine(source_->spec(), type, 32);
      load(*source_, engine);
      const auto prompts = requests(8, 4);
      SamplingOptions sampling;
      sampling.max_new_tokens = 48;
      sampling.seed = 5;
      const auto results = test::generate(engine, prompts, sampling);
      for (const auto& request : prompts) {
        TrainingGroup group{request.tag, request.prompt, {}};
        for (int sample = 0; sample < request.samples; ++sample) {
          const auto& completion = results.at({request.problem_id, sample});
          group.sequences.push_back({completion.tokens, completion.logprobs, {}, 0, false});
        }
        batch.groups.push_back(std::move(group));
      }
    }
    RunConfig config;
    config.model.dtype = dtype;
    const auto communicator = comm::make_local_communicator("learner");
    learn::Learner learner(config, *source_, *communicator);
    const auto logprobs = learner.logprobs(batch, 1.0);
    std::vector<double> result;
    for (std::size_t g = 0; g < batch.groups.size(); ++g) {
      for (std::size_t s = 0; s < batch.groups[g].sequences.size(); ++s) {
        const auto& sampled = batch.groups[g].sequences[s].rollout_logprobs;
        for (std::size_t t = 0; t < sampled.size(); ++t) result.push_back(std::abs(sampled[t] - logprobs[g][s][t]));
      }
    }
    std::sort(result.begin(), result.end());
    return result;
  }

  static double quantile(const std::vector<double>& sorted, double q) {
    return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
  }
  static void report(const char* dtype, const std::vector<double>& sorted) {
    double sum = 0;
    for (const double gap : sorted) sum += gap;
    std::cout << fmt::format("{}: {} tokens, mean {:.2e}, median {:.2e}, 90 % {:.2e}, 99 % {:.2e}, largest {:.2e}\n",
                             dtype, sorted.size(), sum / static_cast<double>(sorted.size()), quantile(sorted, 0.5),
                             quantile(sorted, 0.9), quantile(sorted, 0.99), sorted.back());
  }
};

TEST_F(LogprobGapTest, Float32) {
  const auto sorted = gaps("float32");
  report("float32", sorted);
  EXPECT_GT(sorted.size(), 1000u);
  EXPECT_LT(quantile(sorted, 0.5), 1e-5);
  EXPECT_LT(sorted.back(), 1e-3);
}

TEST_F(LogprobGapTest, Bfloat16) {
  const auto sorted = gaps("bfloat16");
  report("bfloat16", sorted);
  EXPECT_GT(sorted.size(), 1000u);
  EXPECT_LT(quantile(sorted, 0.5), 0.03);
  EXPECT_LT(quantile(sorted, 0.99), 0.3);
}

}  // namespace
}  // namespace setrl::rollout
