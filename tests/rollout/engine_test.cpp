// The engine against the plain decoder of module model.
#include "rollout/engine.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "distribution.h"
#include "rollout/bench.h"
#include "support.h"

namespace setrl::rollout {
namespace {

using model::Family;
using test::generate;
using test::prompt_of;

// One thread: the plain decoder's many small operations only wait for a second one. invariance_test varies the threads.
class OneThread : public testing::Environment {
  void SetUp() override { at::set_num_threads(1); }
};
const auto* const one_thread = testing::AddGlobalTestEnvironment(new OneThread);

std::string family_name(Family family) {
  return family == Family::llama ? "llama" : family == Family::qwen2 ? "qwen2" : "qwen3";
}

// What the plain decoder says of each token of a completion: its log-probability, and the likeliest id at its place.
struct Reference {
  std::vector<double> logprobs;
  std::vector<std::int64_t> best;
};
Reference reference_of(const model::ModelSpec& spec, const model::NamedTensors& tensors,
                       const std::vector<std::int32_t>& prompt, const Completion& completion, double temperature) {
  std::vector<std::int64_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.end(), completion.tokens.begin(), completion.tokens.end());
  const auto first = static_cast<std::int64_t>(prompt.size()), count = static_cast<std::int64_t>(ids.size()) - first;
  const at::Tensor all = at::tensor(ids, at::kLong);
  const at::Tensor logits =
      model::forward_logits(spec, tensors, all.narrow(0, 0, first + count - 1)).narrow(0, first - 1, count);
  const at::Tensor scores = at::log_softmax(logits.to(at::kDouble) / temperature, 1);
  const at::Tensor own = scores.gather(1, all.narrow(0, first, count).unsqueeze(1)).contiguous();
  const at::Tensor best = scores.argmax(1);
  return {{own.const_data_ptr<double>(), own.const_data_ptr<double>() + count},
          {best.const_data_ptr<std::int64_t>(), best.const_data_ptr<std::int64_t>() + count}};
}

class FamilyTest : public testing::TestWithParam<Family> {};

TEST_P(FamilyTest, Float32EqualsThePlainDecoderOnEveryInstructionSet) {
  const auto spec = test::small_spec(GetParam());
  const auto tensors = test::random_tensors(spec);
  for (const Isa isa : available_isas(false)) {
    Engine engine(spec, at::kFloat, 4, isa);
    test::load(engine, tensors, 12);
    EXPECT_EQ(engine.version(), 12);
    for (const double temperature : {0.0, 0.8}) {
      SamplingOptions sampling;
      sampling.temperature = temperature;
      sampling.max_new_tokens = 40;
      for (const int length : {1, 31, 32, 75}) {
        const GenerationRequest request{length, "p", prompt_of(length, spec.vocabulary), 3, 5};
        const auto results = generate(engine, {request}, sampling);
        ASSERT_EQ(results.size(), 3u);
        for (const auto& [key, completion] : results) {
          ASSERT_EQ(completion.tokens.size(), 40u);
          EXPECT_EQ(completion.finish, FinishReason::length);
          EXPECT_EQ(completion.newest_version, 12);
          EXPECT_GE(completion.sample_index, 5);
          const Reference want =
              reference_of(spec, tensors, request.prompt, completion, temperature > 0 ? temperature : 1);
          for (std::size_t t = 0; t < 40; ++t) {
            ASSERT_NEAR(completion.logprobs[t], want.logprobs[t], 1e-4)
                << kernels_of(isa, false).name << ", prompt " << length << ", token " << t;
            if (temperature == 0) {
              ASSERT_EQ(completion.tokens[t], want.best[t]);
            }
          }
        }
      }
    }
  }
}

TEST_P(FamilyTest, Bfloat16StaysNearThePlainDecoder) {
  const auto spec = test::small_spec(GetParam());
  const auto tensors = test::random_tensors(spec, at::kBFloat16);
  // The same rounded weights, computed in float32: the distance is that of the engine's own roundings.
  model::NamedTensors exact;
  for (const auto& [name, tensor] : tensors) exact[name] = tensor.to(at::kFloat);
  for (const Isa isa : available_isas(true)) {
    Engine engine(spec, at::kBFloat16, 4, isa);
    test::load(engine, tensors);
    SamplingOptions sampling;
    sampling.max_new_tokens = 40;
    const GenerationRequest request{0, "p", prompt_of(40, spec.vocabulary), 4, 0};
    double sum = 0, worst = 0;
    for (const auto& [key, completion] : generate(engine, {request}, sampling)) {
      const Reference want = reference_of(spec, exact, request.prompt, completion, 1);
      for (std::size_t t = 0; t < 40; ++t) {
        const double gap = std::abs(completion.logprobs[t] - want.logprobs[t]);
        sum += gap;
        worst = std::max(worst, gap);
      }
    }
    RecordProperty(kernels_of(isa, true).name, std::to_string(sum / 160));
    EXPECT_LT(sum / 160, 0.04) << kernels_of(isa, true).name;
    EXPECT_LT(worst, 0.3) << kernels_of(isa, true).name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyTest, testing::Values(Family::llama, Family::qwen2, Family::qwen3),
                         [](const testing::TestParamInfo<Family>& test) { return family_name(test.param); });

class EngineTest : public testing::Test {
 protected:
  EngineTest() { test::load(engine_, tensors_); }
  const model::ModelSpec spec_ = test::small_spec(Family::qwen3);
  const model::NamedTensors tensors_ = test::random_tensors(spec_);
  Engine engine_{spec_, at::kFloat, 3};
};

TEST_F(EngineTest, StopIdEndsACompletionAndIsKept) {
  SamplingOptions sampling;
  sampling.max_new_tokens = 60;
  const GenerationRequest request{0, "p", prompt_of(20, spec_.vocabulary), 8, 0};
  const auto whole = generate(engine_, {request}, sampling);
  sampling.stop_ids = {whole.at({"p", 2}).tokens[9], whole.at({"p", 5}).tokens[0]};
  const auto stopped = generate(engine_, {request}, sampling);
  for (const auto& [key, completion] : whole) {
    const auto& ids = completion.tokens;
    const auto stop = std::find_first_of(ids.begin(), ids.end(), sampling.stop_ids.begin(), sampling.stop_ids.end());
    const bool found = stop != ids.end();
    const std::vector<std::int32_t> want(ids.begin(), found ? stop + 1 : stop);
    EXPECT_EQ(stopped.at(key).tokens, want);
    EXPECT_EQ(stopped.at(key).logprobs.size(), want.size());
    EXPECT_EQ(stopped.at(key).finish, found ? FinishReason::end_of_turn : FinishReason::length);
  }
  EXPECT_EQ(stopped.at({"p", 5}).tokens.size(), 1u);
}

TEST_F(EngineTest, MorePromptsAndSamplesThanSlotsAllFinishAndAreReportedOnce) {
  SamplingOptions sampling;
  sampling.max_new_tokens = 9;
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 9; ++i) {
    requests.push_back({100 + i, "p" + std::to_string(i), prompt_of(1 + 37 * i, spec_.vocabulary, i), 1 + i % 5, i});
  }
  std::map<std::int64_t, int> seen;
  std::map<std::pair<std::int64_t, int>, std::vector<std::int32_t>> streamed;
  const auto stats = engine_.generate(
      requests, sampling,
      [&](const GenerationRequest& request, std::vector<Completion> completions) {
        ++seen[request.tag];
        ASSERT_EQ(completions.size(), static_cast<std::size_t>(request.samples));
        for (int s = 0; s < request.samples; ++s) {
          const auto& completion = completions[static_cast<std::size_t>(s)];
          EXPECT_EQ(completion.sample_index, request.first_sample + s);
          EXPECT_EQ(completion.problem_id, request.problem_id);
          EXPECT_EQ(completion.tokens, (streamed[{request.tag, completion.sample_index}]));
        }
      },
      [&](std::int64_t tag, int sample, std::int32_t id) {
        streamed[{tag, sample}].push_back(id);
      });
  EXPECT_EQ(seen.size(), 9u);
  for (const auto& [tag, count] : seen) EXPECT_EQ(count, 1);
  std::int64_t prompt_tokens = 0, samples = 0;
  for (const auto& request : requests) {
    prompt_tokens += static_cast<std::int64_t>(request.prompt.size());
    samples += request.samples;
  }
  EXPECT_EQ(stats.prompt_tokens, prompt_tokens) << "a prompt is computed once for all its samples";
  EXPECT_EQ(stats.new_tokens, samples * 9);
}

TEST_F(EngineTest, EndsAtTheLastPositionOfTheModel) {
  SamplingOptions sampling;
  sampling.max_new_tokens = 100;
  const auto results = generate(engine_, {{0, "long", prompt_of(500, spec_.vocabulary), 2, 0}}, sampling);
  EXPECT_EQ(results.at({"long", 0}).tokens.size(), 12u);
  EXPECT_EQ(results.at({"long", 1}).finish, FinishReason::length);
}

TEST_F(EngineTest, NewWeightsChangeTheText) {
  SamplingOptions sampling;
  const GenerationRequest request{0, "p", prompt_of(20, spec_.vocabulary), 1, 0};
  const auto before = generate(engine_, {request}, sampling);
  auto changed = tensors_;
  changed["model.embed_tokens.weight"] = changed["model.embed_tokens.weight"].flip({0});
  test::load(engine_, changed, 2);
  EXPECT_NE(generate(engine_, {request}, sampling).at({"p", 0}).tokens, before.at({"p", 0}).tokens);
  test::load(engine_, tensors_, 3);
  const auto again = generate(engine_, {request}, sampling);
  EXPECT_EQ(again.at({"p", 0}).tokens, before.at({"p", 0}).tokens);
  EXPECT_EQ(again.at({"p", 0}).oldest_version, 3);
}

TEST_F(EngineTest, RefusesWhatCannotBeGenerated) {
  SamplingOptions sampling;
  const auto run = [&](std::vector<std::int32_t> prompt, int samples) {
    engine_.generate({{0, "bad", std::move(prompt), samples, 0}}, sampling, nullptr);
  };
  EXPECT_THROW(run({}, 1), UserError);
  EXPECT_THROW(run({0, 211}, 1), UserError);
  EXPECT_THROW(run({-1}, 1), UserError);
  EXPECT_THROW(run({1}, 0), UserError);
  EXPECT_THROW(run(prompt_of(512, spec_.vocabulary), 1), UserError);
  sampling.max_new_tokens = 0;
  EXPECT_THROW(run({1}, 1), UserError);
  EXPECT_THROW(Engine(spec_, at::kHalf, 1), UserError);
}

TEST_F(EngineTest, RefusesIncompleteOrForeignWeights) {
  Engine engine(spec_, at::kFloat, 1);
  EXPECT_THROW(engine.generate({}, {}, nullptr), BugError);
  engine.begin_update();
  EXPECT_THROW(engine.update("model.layers.0.unknown.weight", at::zeros({1})), BugError);
  EXPECT_THROW(engine.update("model.norm.weight", at::zeros({71})), BugError);
  engine.update("model.norm.weight", at::zeros({72}));
  EXPECT_THROW(engine.end_update(1), BugError);
}

TEST_F(EngineTest, DivergedWeightsAreAClearErrorAndTheEngineRecovers) {
  SamplingOptions sampling;
  const GenerationRequest request{0, "p", prompt_of(70, spec_.vocabulary), 5, 0};
  const auto before = generate(engine_, {request}, sampling);
  auto broken = tensors_;
  broken["model.layers.1.mlp.down_proj.weight"] = broken["model.layers.1.mlp.down_proj.weight"] * NAN;
  test::load(engine_, broken, 2);
  EXPECT_THROW(generate(engine_, {request}, sampling), UserError);
  test::load(engine_, tensors_, 3);  // pages that held NaN are reused
  const auto after = generate(engine_, {request}, sampling);
  for (const auto& [key, completion] : before) {
    EXPECT_EQ(after.at(key).tokens, completion.tokens);
    EXPECT_EQ(after.at(key).logprobs, completion.logprobs);
  }
}

// 20,000 samples of one position, through the whole engine, against the exact softmax of the plain decoder's logits.
TEST_F(EngineTest, ManySamplesOfOnePositionFollowTheExactDistribution) {
  Engine engine(spec_, at::kFloat, 64);
  test::load(engine, tensors_);
  GenerationRequest request{0, "p", prompt_of(33, spec_.vocabulary), 20000, 0};
  const std::vector<std::int64_t> ids(request.prompt.begin(), request.prompt.end());
  const at::Tensor last = model::forward_logits(spec_, tensors_, at::tensor(ids, at::kLong))[32].contiguous();
  const std::vector<float> logits(last.const_data_ptr<float>(), last.const_data_ptr<float>() + last.numel());
  SamplingOptions plain, filtered;
  plain.max_new_tokens = 1;
  filtered = plain;
  filtered.temperature = 1.4;
  filtered.top_k = 60;
  filtered.top_p = 0.9;
  for (const auto& sampling : {plain, filtered}) {
    std::vector<int> counts(logits.size());
    for (const auto& [key, completion] : generate(engine, {request}, sampling)) {
      ++counts[static_cast<std::size_t>(completion.tokens[0])];
    }
    const auto want = test::exact(logits, sampling);
    for (std::size_t id = 0; id < want.size(); ++id) ASSERT_TRUE(want[id] > 0 || counts[id] == 0) << id;
    EXPECT_LT(std::abs(test::chi_square_deviate(want, counts)), 4.0);
  }
}

TEST_F(EngineTest, BenchmarkCountsTokens) {
  Engine engine(spec_, at::kFloat, 4);
  test::load(engine, tensors_);
  BenchOptions options;
  options.batch = 4;
  options.group = 2;
  options.prompt = 10;
  options.new_tokens = 8;
  const auto result = bench_rollout(engine, spec_, at::kFloat, options);
  EXPECT_GT(result.tokens_per_s, 0);
  EXPECT_GT(result.limit_tokens_per_s, 0);
  EXPECT_NEAR(result.tokens_per_s * result.seconds, 32, 1e-6);
  options.group = 3;
  EXPECT_THROW(bench_rollout(engine, spec_, at::kFloat, options), UserError);
}

}  // namespace
}  // namespace setrl::rollout
