// The hand-written backward over packed groups against PyTorch autograd of the plain model on unpacked sequences, and
// against finite differences.
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "comm/communicator.h"
#include "learn/network.h"
#include "learn/tiny_model.h"

namespace setrl::learn {
namespace {

using namespace testing;

constexpr double kTemperature = 0.7;

// A fixed weight for each loss token: the loss is their weighted sum of log-probabilities.
double coefficient(std::size_t group, std::size_t sequence, std::size_t token) {
  return uniform_at(3, group * 100 + sequence, static_cast<std::uint32_t>(token), 0) - 0.3;
}

using Gradients = std::map<std::string, at::Tensor>;

struct Outcome {
  double loss = 0;
  Gradients gradients;
};

struct Way {
  std::int64_t budget = 100000;
  Keep keep = Keep::everything;
  bool whole = false;
  at::ScalarType dtype = at::kFloat;
};

// Adds `offset` to one element of one parameter.
class ShiftedWeights : public model::WeightSource {
 public:
  ShiftedWeights(const model::WeightSource& base, std::string name, std::int64_t element, float offset)
      : base_(base), name_(std::move(name)), element_(element), offset_(offset) {}
  const model::ModelSpec& spec() const override { return base_.spec(); }
  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override {
    base_.read(name, begin, end, out);
    if (name == name_ && element_ >= begin && element_ < end) out[element_ - begin] += offset_;
  }
  std::string describe() const override { return "shifted"; }

 private:
  const model::WeightSource& base_;
  std::string name_;
  std::int64_t element_;
  float offset_;
};

Outcome by_learner(const model::WeightSource& weights, const TrainingBatch& batch, const Way& way) {
  const auto communicator = comm::make_local_communicator("test");
  Sharding sharding;
  sharding.dtype = way.dtype;
  ShardedParameters parameters(
      unit_layouts(weights.spec(), 1),
      [&](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
        weights.read(name, begin, end, out);
      },
      *communicator, sharding);
  Network network(weights.spec(), parameters, way.keep);
  Outcome outcome;
  for (const auto& part : pack(batch, way.budget, weights.spec().vocabulary, false)) {
    std::vector<float> wanted(part.targets.size());
    for (const auto& sequence : part.sequences) {
      for (std::int64_t i = 0; i < sequence.count; ++i) {
        wanted[static_cast<std::size_t>(sequence.loss_begin + i)] =
            static_cast<float>(coefficient(sequence.group, sequence.index, static_cast<std::size_t>(i)));
      }
    }
    network.train(part, kTemperature,
                  {way.whole, [&](std::int64_t begin, std::int64_t end, const RowStats* stats, float* gradient) {
                     for (std::int64_t i = begin; i < end; ++i) {
                       gradient[i - begin] = wanted[static_cast<std::size_t>(i)];
                       outcome.loss +=
                           static_cast<double>(wanted[static_cast<std::size_t>(i)]) * stats[i - begin].logprob;
                     }
                   }});
  }
  for (int unit = 0; unit < parameters.units(); ++unit) {
    for (const auto& slot : parameters.layout(unit).slots) {
      outcome.gradients[slot.parameter.name] =
          parameters.layout(unit).view(parameters.gradient_buffer(unit), slot.parameter.name).clone();
    }
  }
  return outcome;
}

Outcome by_autograd(const model::WeightSource& source, const TrainingBatch& batch) {
  auto weights = model::load_all(source, at::kFloat);
  for (auto& [name, tensor] : weights) tensor.requires_grad_(true);
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (std::size_t g = 0; g < batch.groups.size(); ++g) {
    const auto& group = batch.groups[g];
    for (std::size_t s = 0; s < group.sequences.size(); ++s) {
      const auto& sequence = group.sequences[s];
      if (sequence.masked || sequence.tokens.empty()) continue;
      std::vector<double> wanted;
      for (std::size_t i = 0; i < sequence.tokens.size(); ++i) wanted.push_back(coefficient(g, s, i));
      const auto logprobs = plain_logprobs(source.spec(), weights, group.prompt, sequence.tokens, kTemperature);
      loss = loss + (logprobs.to(at::kDouble) * at::tensor(wanted, at::kDouble)).sum();
    }
  }
  loss.backward();
  Outcome outcome{loss.item<double>(), {}};
  for (auto& [name, tensor] : weights) outcome.gradients[name] = tensor.grad();
  return outcome;
}

void expect_close(const Gradients& actual, const Gradients& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, gradient] : expected) {
    ASSERT_TRUE(gradient.defined()) << name;
    const double scale = gradient.norm().item<double>();
    EXPECT_GT(scale, 0) << name;
    EXPECT_LT((actual.at(name) - gradient).norm().item<double>(), tolerance * scale) << name;
  }
}

TrainingBatch mixed_batch(const model::ModelSpec& spec) {
  TrainingBatch batch = tiny_batch(spec, 3, {5, 9, 9, 1, 4}, 6, 11);
  batch.groups[1].sequences[0].masked = true;
  batch.groups[2].sequences[3].tokens.clear();
  return batch;
}

class Family : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Families, Family, ::testing::Values("llama", "llama_tied", "qwen2", "qwen3"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(Family, EqualsAutogradOfThePlainModel) {
  const TinyWeights weights(tiny_spec(GetParam()));
  const auto batch = mixed_batch(weights.spec());
  const Outcome actual = by_learner(weights, batch, {}), expected = by_autograd(weights, batch);
  EXPECT_NEAR(actual.loss, expected.loss, 1e-5 * std::abs(expected.loss));
  expect_close(actual.gradients, expected.gradients, 1e-5);
}

TEST_P(Family, EqualsFiniteDifferences) {
  const TinyWeights weights(tiny_spec(GetParam()));
  const auto batch = mixed_batch(weights.spec());
  const auto gradients = by_learner(weights, batch, {}).gradients;
  for (const auto& [name, gradient] : gradients) {
    if (name.find("layers.1") != std::string::npos) continue;
    const std::int64_t element = gradient.abs().argmax().item<std::int64_t>();
    const double expected = gradient.flatten()[element].item<double>();
    const float step = 4e-3f;
    const double up = by_learner(ShiftedWeights(weights, name, element, step), batch, {}).loss;
    const double down = by_learner(ShiftedWeights(weights, name, element, -step), batch, {}).loss;
    EXPECT_NEAR((up - down) / (2 * step), expected, 0.01 * std::abs(expected) + 2e-3) << name;
  }
}

TEST_P(Family, BFloat16ComesClose) {
  const TinyWeights weights(tiny_spec(GetParam()));
  const auto batch = mixed_batch(weights.spec());
  Way way;
  way.dtype = at::kBFloat16;
  expect_close(by_learner(weights, batch, way).gradients, by_autograd(weights, batch).gradients, 0.07);
}

// Longer than the blocks in which attention takes queries and keys, and three heads to a key head.
TEST(Gradient, LongSequencesEqualAutograd) {
  model::ModelSpec spec = tiny_spec("llama");
  spec.heads = 3;
  spec.kv_heads = 1;
  spec.max_positions = 2048;
  const TinyWeights weights(spec);
  const auto batch = tiny_batch(spec, 1, {530, 70}, 600, 5);
  const Outcome actual = by_learner(weights, batch, {}), expected = by_autograd(weights, batch);
  EXPECT_NEAR(actual.loss, expected.loss, 1e-5 * std::abs(expected.loss));
  expect_close(actual.gradients, expected.gradients, 1e-5);
}

TEST(Gradient, SharedPromptEqualsPlainPacking) {
  const TinyWeights weights(tiny_spec("llama"));
  const auto batch = mixed_batch(weights.spec());
  // One group a completion, with its prompt again; group and sequence numbers are kept for coefficient() by masking.
  Outcome plain;
  for (std::size_t s = 0; s < batch.groups[0].sequences.size(); ++s) {
    TrainingBatch alone = batch;
    for (auto& group : alone.groups) {
      for (std::size_t i = 0; i < group.sequences.size(); ++i) group.sequences[i].masked |= i != s;
    }
    const Outcome part = by_learner(weights, alone, {});
    plain.loss += part.loss;
    for (const auto& [name, gradient] : part.gradients) {
      auto& sum = plain.gradients[name];
      sum = sum.defined() ? sum + gradient : gradient;
    }
  }
  const Outcome shared = by_learner(weights, batch, {});
  EXPECT_NEAR(shared.loss, plain.loss, 1e-5 * std::abs(plain.loss));
  expect_close(shared.gradients, plain.gradients, 1e-5);
}

TEST(Gradient, DoesNotDependOnTheTokenBudget) {
  const TinyWeights weights(tiny_spec("llama_tied"));
  const auto batch = mixed_batch(weights.spec());
  const Outcome whole = by_learner(weights, batch, {});
  for (const std::int64_t budget : {1, 20, 45}) {
    Way way;
    way.budget = budget;
    const Outcome split = by_learner(weights, batch, way);
    EXPECT_NEAR(split.loss, whole.loss, 1e-5 * std::abs(whole.loss));
    expect_close(split.gradients, whole.gradients, 1e-5);
  }
}

TEST(Gradient, CheckpointingAndTwoPassesChangeNoBit) {
  const TinyWeights weights(tiny_spec("qwen3"));
  const auto batch = mixed_batch(weights.spec());
  const Outcome expected = by_learner(weights, batch, {});
  Way input, selective, whole;
  input.keep = Keep::input;
  selective.keep = Keep::selective;
  whole.whole = true;
  for (const Way& way : {input, selective, whole, Way{}}) {
    const Outcome actual = by_learner(weights, batch, way);
    EXPECT_EQ(actual.loss, expected.loss);
    for (const auto& [name, gradient] : expected.gradients) {
      EXPECT_TRUE(at::equal(actual.gradients.at(name), gradient)) << name;
    }
  }
}

}  // namespace
}  // namespace setrl::learn
