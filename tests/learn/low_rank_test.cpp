// Low-rank adapters: gradients against autograd, the start, merging, and restoring a run.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "base/error.h"
#include "comm/communicator.h"
#include "learn/learner.h"
#include "learn/tiny_model.h"
#include "model/low_rank.h"

namespace setrl::learn {
namespace {

using namespace testing;

RunConfig low_rank_config(const std::string& targets = "all") {
  RunConfig config = tiny_config();
  config.learn.lora_rank = 3;
  config.learn.lora_alpha = 6;
  config.learn.lora_targets = targets;
  config.learn.grad_clip = 0;
  return config;
}

struct OneRank {
  OneRank(const RunConfig& config, const std::string& family)
      : weights(tiny_spec(family)), learner(config, weights, *communicator) {}

  std::map<std::string, at::Tensor> merged_parameters() {
    std::map<std::string, at::Tensor> result;
    learner.for_each_parameter([&](const model::ParameterSpec& parameter, const at::Tensor& tensor) {
      result[parameter.name] = tensor.to(at::kFloat, false, true);
    });
    return result;
  }

  // The tensors of the state whose names begin with `prefix`.
  std::map<std::string, at::Tensor> tensors(const std::string& prefix) {
    std::map<std::string, at::Tensor> result;
    for (const auto& view : learner.state()) {
      if (view.name.rfind(prefix, 0) != 0) continue;
      result[view.name.substr(prefix.size())] = at::from_blob(view.data, view.shape, at::kFloat).clone();
    }
    return result;
  }

  TinyWeights weights;
  std::unique_ptr<comm::Communicator> communicator = comm::make_local_communicator("test");
  Learner learner;
};

// Makes B something else than zero, so that A has a gradient.
void stir(Learner& learner) {
  for (const auto& view : learner.state()) {
    if (view.name.rfind("parameters/", 0) != 0) continue;
    auto* data = static_cast<float*>(view.data);
    for (std::int64_t i = 0; i < view.elements(); ++i) data[i] = 0.1f * std::sin(static_cast<float>(i * 7 + 3));
  }
}

TEST(LowRank, StartsAsTheBase) {
  RunConfig plain = tiny_config();
  for (const char* dtype : {"float32", "bfloat16"}) {
    RunConfig config = low_rank_config();
    plain.model.dtype = config.model.dtype = dtype;
    OneRank base(plain, "qwen3"), adapted(config, "qwen3");
    const auto batch = tiny_batch(base.weights.spec(), 2, {6, 8}, 5, 3);
    EXPECT_EQ(base.learner.logprobs(batch, 0.7), adapted.learner.logprobs(batch, 0.7)) << dtype;
    const auto expected = base.merged_parameters(), actual = adapted.merged_parameters();
    for (const auto& [name, tensor] : expected) EXPECT_TRUE(at::equal(actual.at(name), tensor)) << name;
  }
}

// d(loss)/dA = scale B^T dW and d(loss)/dB = scale dW A^T with dW by autograd of the plain model at the merged weights.
TEST(LowRank, GradientsEqualAutograd) {
  for (const char* family : {"llama", "llama_tied", "qwen2", "qwen3"}) {
    for (const char* targets : {"all", "q_proj, v_proj,down_proj"}) {
      OneRank one(low_rank_config(targets), family);
      stir(one.learner);
      const auto& spec = one.weights.spec();
      const auto batch = tiny_batch(spec, 2, {5, 9, 1}, 6, 11);
      const auto before = one.tensors("parameters/");
      model::NamedTensors weights;
      for (auto& [name, tensor] : one.merged_parameters()) weights[name] = tensor.requires_grad_(true);

      at::Tensor loss = at::zeros({}, at::kDouble);
      double tokens = 0;
      for (const auto& group : batch.groups) {
        for (const auto& sequence : group.sequences) {
          const auto logprobs = plain_logprobs(spec, weights, group.prompt, sequence.tokens, 0.7);
          loss = loss - sequence.advantage * logprobs.to(at::kDouble).sum();
          tokens += static_cast<double>(sequence.tokens.size());
        }
      }
      (loss / tokens).backward();
      one.learner.reinforce(batch, 1, 10);

      int compared = 0;
      for (const auto& [name, moment] : one.tensors("moment1/")) {
        const at::Tensor actual = moment / 0.1;  // 1 - beta1
        const std::string module = name.substr(0, name.find(".lora_"));
        const at::Tensor d_weight = weights.at(module + ".weight").grad();
        const double scale = 6.0 / 3;
        const at::Tensor expected = name.find("lora_A") != std::string::npos
                                        ? scale * at::mm(before.at(module + ".lora_B.weight").t(), d_weight)
                                        : scale * at::mm(d_weight, before.at(module + ".lora_A.weight").t());
        const double size = expected.norm().item<double>();
        EXPECT_GT(size, 0) << name;
        EXPECT_LT((actual - expected).norm().item<double>(), 1e-4 * size) << family << " " << name;
        ++compared;
      }
      EXPECT_EQ(compared, std::string(targets) == "all" ? 28 : 12);
    }
  }
}

// The weights that are pushed, in a learner without adapters, say the same log-probabilities.
class Given : public model::WeightSource {
 public:
  Given(model::ModelSpec spec, std::map<std::string, at::Tensor> tensors)
      : spec_(std::move(spec)), tensors_(std::move(tensors)) {}
  const model::ModelSpec& spec() const override { return spec_; }
  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override {
    std::copy_n(tensors_.at(name).data_ptr<float>() + begin, end - begin, out);
  }
  std::string describe() const override { return "given"; }

 private:
  model::ModelSpec spec_;
  std::map<std::string, at::Tensor> tensors_;
};

TEST(LowRank, MergedEqualsUnmerged) {
  OneRank one(low_rank_config(), "qwen2");
  stir(one.learner);
  const auto& spec = one.weights.spec();
  const auto batch = tiny_batch(spec, 2, {6, 8}, 5, 3);
  const Given merged(spec, one.merged_parameters());
  Learner plain(tiny_config(), merged, *one.communicator);
  const auto expected = one.learner.logprobs(batch, 0.7), actual = plain.logprobs(batch, 0.7);
  const auto base = OneRank(tiny_config(), "qwen2").learner.logprobs(batch, 0.7);
  double moved = 0;
  for (std::size_t g = 0; g < expected.size(); ++g) {
    for (std::size_t s = 0; s < expected[g].size(); ++s) {
      for (std::size_t i = 0; i < expected[g][s].size(); ++i) {
        EXPECT_NEAR(actual[g][s][i], expected[g][s][i], 2e-5);
        moved = std::max(moved, std::abs(static_cast<double>(base[g][s][i]) - expected[g][s][i]));
      }
    }
  }
  EXPECT_GT(moved, 0.1);

  // The same from stored adapters, in any piece of a tensor.
  const auto adapters = one.tensors("parameters/");
  const auto stored =
      model::merged_weights(std::make_unique<TinyWeights>(spec), model::low_rank_spec(low_rank_config().learn),
                            [&](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
                              std::copy_n(adapters.at(name).data_ptr<float>() + begin, end - begin, out);
                            });
  for (const auto& parameter : model::parameter_table(spec)) {
    const std::int64_t size = parameter.elements();
    for (const auto& [begin, end] :
         {std::pair<std::int64_t, std::int64_t>{0, size}, {size / 3, size / 2}, {7, 9}, {5, 5}}) {
      std::vector<float> wanted(static_cast<std::size_t>(end - begin)), read(wanted.size());
      merged.read(parameter.name, begin, end, wanted.data());
      stored->read(parameter.name, begin, end, read.data());
      for (std::size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(read[i], wanted[i], 1e-6) << parameter.name;
    }
  }
}

TEST(LowRank, TrainsAndRestores) {
  RunConfig config = low_rank_config();
  config.learn.kl_coefficient = 0.05;
  config.learn.updates_per_batch = 2;
  OneRank original(config, "llama"), restored(config, "llama");
  const auto batch = [&](int step) {
    return tiny_batch(original.weights.spec(), 2, {6, 8}, 5, static_cast<std::uint64_t>(step));
  };
  StepStats stats;
  for (int step = 1; step <= 3; ++step) stats = original.learner.reinforce(batch(1), step, 6);
  EXPECT_GT(stats.kl, 0);
  const auto from = original.learner.state(), to = restored.learner.state();
  ASSERT_EQ(from.size(), 3 * 28u);
  ASSERT_EQ(to.size(), from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    std::memcpy(to[i].data, from[i].data, static_cast<std::size_t>(from[i].end - from[i].begin) * sizeof(float));
  }
  restored.learner.set_optimizer_steps(original.learner.optimizer_steps());
  for (int step = 4; step <= 6; ++step) {
    original.learner.reinforce(batch(step), step, 6);
    restored.learner.reinforce(batch(step), step, 6);
  }
  const auto a = original.merged_parameters(), b = restored.merged_parameters();
  for (const auto& [name, tensor] : a) EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
}

TEST(LowRank, RefusesUnknownModules) {
  EXPECT_THROW(OneRank(low_rank_config("q_proj,attention"), "llama"), UserError);
  EXPECT_THROW(OneRank(low_rank_config(""), "llama"), UserError);
}

}  // namespace
}  // namespace setrl::learn
