// Text and log-probabilities depend on weights, seed, problem and sample only: equal bytes in any batch, order, with
// any number of threads, shared or own prompt.
#include <gtest/gtest.h>

#include <ATen/Parallel.h>

#include <algorithm>

#include "support.h"

namespace setrl::rollout {
namespace {

using test::generate;
using test::prompt_of;
using test::Results;

struct Case {
  Isa isa;
  at::ScalarType dtype;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const Isa isa : available_isas(dtype == at::kBFloat16)) all.push_back({isa, dtype});
  }
  return all;
}

class InvarianceTest : public testing::TestWithParam<Case> {
 protected:
  ~InvarianceTest() override { at::set_num_threads(threads_); }

  Results run(int max_batch, int threads, const std::vector<GenerationRequest>& requests) {
    at::set_num_threads(threads);
    Engine engine(spec_, GetParam().dtype, max_batch, GetParam().isa);
    test::load(engine, tensors_);
    SamplingOptions sampling;
    sampling.temperature = 0.9;
    sampling.max_new_tokens = 45;
    sampling.seed = 99;
    sampling.stop_ids = {17, 60};
    return generate(engine, requests, sampling);
  }

  static void expect_equal(const Results& a, const Results& b, const char* what) {
    ASSERT_EQ(a.size(), b.size()) << what;
    for (const auto& [key, completion] : a) {
      const auto& other = b.at(key);
      EXPECT_EQ(completion.tokens, other.tokens) << what << ": " << key.first << " sample " << key.second;
      EXPECT_EQ(completion.logprobs, other.logprobs) << what << ": " << key.first << " sample " << key.second;
    }
  }

  const int threads_ = at::get_num_threads();
  const model::ModelSpec spec_ = test::small_spec(model::Family::qwen2);
  const model::NamedTensors tensors_ = test::random_tensors(spec_);
};

TEST_P(InvarianceTest, EqualBytesInAnyBatchOrderAndThreadCount) {
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 14; ++i) {
    // Prompts of 1 to 300 tokens: within one page, whole pages, over several prefill steps.
    const int length = i == 3 ? 64 : i == 7 ? 300 : 1 + i * 11;
    requests.push_back({i, "problem-" + std::to_string(i), prompt_of(length, spec_.vocabulary, i), 1 + i % 5, 0});
  }
  const Results alone = run(1, 1, requests);
  expect_equal(alone, run(7, 2, requests), "batch 7, two threads");
  expect_equal(alone, run(64, 1, requests), "batch 64, one thread");
  expect_equal(alone, run(64, 3, requests), "batch 64, three threads");
  auto reversed = requests;
  std::reverse(reversed.begin(), reversed.end());
  expect_equal(alone, run(64, 2, reversed), "batch 64, other order");
  std::vector<GenerationRequest> single;
  for (const auto& request : requests) {
    for (int s = 0; s < request.samples; ++s) single.push_back({0, request.problem_id, request.prompt, 1, s});
  }
  Results separate = run(64, 2, single);
  expect_equal(alone, separate, "each sample its own request");
}

TEST_P(InvarianceTest, OtherSeedsProblemsAndSamplesGiveOtherText) {
  const auto prompt = prompt_of(20, spec_.vocabulary);
  const Results results = run(4, 1, {{0, "a", prompt, 2, 0}, {1, "b", prompt, 1, 0}});
  EXPECT_NE(results.at({"a", 0}).tokens, results.at({"a", 1}).tokens);
  EXPECT_NE(results.at({"a", 0}).tokens, results.at({"b", 0}).tokens);
}

std::string case_name(const testing::TestParamInfo<Case>& test) {
  static const char* const isa_names[] = {"portable", "avx2", "avx512", "avx512_bf16", "amx_bf16"};
  return std::string(isa_names[static_cast<int>(test.param.isa)]) +
         (test.param.dtype == at::kFloat ? "_float32" : "_bfloat16");
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, InvarianceTest, testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace setrl::rollout
