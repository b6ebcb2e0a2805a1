// The persistent engine: requests that come and go, new weights in flight, a budget of KV memory.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "rollout/kv_cache.h"
#include "support.h"
#include "topology/shape.h"

namespace setrl::rollout {
namespace {

using test::generate;
using test::prompt_of;
using test::Results;

SamplingOptions options_of(std::uint64_t seed, double temperature, int new_tokens) {
  SamplingOptions options;
  options.seed = seed;
  options.temperature = temperature;
  options.max_new_tokens = new_tokens;
  return options;
}

class ContinuousTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  ContinuousTest() { at::set_num_threads(1); }

  std::unique_ptr<Engine> engine(EngineOptions options, bool changed = false, std::int64_t version = 1) {
    auto made = std::make_unique<Engine>(spec_, GetParam(), options);
    load_weights(*made, changed, version);
    return made;
  }
  std::unique_ptr<Engine> engine(int max_batch = 4) {
    EngineOptions options;
    options.max_batch = max_batch;
    return engine(options);
  }
  void load_weights(Engine& engine, bool changed, std::int64_t version) {
    auto tensors = tensors_;
    if (changed) tensors["model.layers.1.mlp.down_proj.weight"] = tensors["model.layers.1.mlp.down_proj.weight"] * 1.5;
    test::load(engine, tensors, version);
  }
  Engine::Done into(Results& results) {
    return [&results](const GenerationRequest& request, std::vector<Completion> completions) {
      for (auto& completion : completions) {
        const auto key = std::make_pair(request.problem_id, completion.sample_index);
        EXPECT_EQ(results.count(key), 0u);
        results[key] = std::move(completion);
      }
    };
  }
  static void expect_equal(const Results& a, const Results& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [key, completion] : a) {
      EXPECT_EQ(completion.tokens, b.at(key).tokens) << key.first << " sample " << key.second;
      EXPECT_EQ(completion.logprobs, b.at(key).logprobs) << key.first << " sample " << key.second;
      EXPECT_EQ(completion.finish, b.at(key).finish);
    }
  }
  std::vector<GenerationRequest> many_requests() const {
    std::vector<GenerationRequest> requests;
    for (int i = 0; i < 10; ++i) {
      const int length = i == 2 ? 64 : i == 5 ? 290 : 3 + i * 13;
      requests.push_back({i, "problem-" + std::to_string(i), prompt_of(length, spec_.vocabulary, i), 1 + i % 5, 0});
    }
    return requests;
  }

  const model::ModelSpec spec_ = test::small_spec(model::Family::qwen3);
  const model::NamedTensors tensors_ = test::random_tensors(spec_);
};

TEST_P(ContinuousTest, RequestsOfSeveralStepsRunTogetherEachWithItsOwnOptions) {
  const auto requests = many_requests();
  const auto options = [](std::size_t i) {
    return options_of(i, i % 3 == 0 ? 0.0 : 0.5 + 0.1 * static_cast<double>(i), 10 + 7 * static_cast<int>(i));
  };
  Results alone, together;
  auto reference = engine();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    for (auto& [key, completion] : generate(*reference, {requests[i]}, options(i))) alone[key] = completion;
  }
  auto used = engine();
  EXPECT_TRUE(used->idle());
  std::size_t submitted = 0;
  for (int step = 0; submitted < requests.size() || !used->idle(); ++step) {
    if (step % 5 == 0 && submitted < requests.size()) {
      used->submit(requests[submitted], options(submitted));
      ++submitted;
    }
    used->step(into(together));
    ASSERT_LT(step, 10000);
  }
  EXPECT_EQ(used->in_flight(), 0);
  expect_equal(alone, together);
}

TEST_P(ContinuousTest, AFinishedRequestMaySubmitTheNext) {
  auto used = engine(2);
  std::vector<std::int64_t> order;
  Engine::Done done = [&](const GenerationRequest& request, std::vector<Completion> completions) {
    order.push_back(request.tag);
    ASSERT_EQ(completions.size(), 2u);
    if (request.tag < 5) {
      GenerationRequest next = request;
      ++next.tag;
      used->submit(std::move(next), options_of(1, 1, 4));
    }
  };
  used->submit({0, "p", prompt_of(9, spec_.vocabulary), 2, 0}, options_of(1, 1, 4));
  while (!used->idle()) used->step(done);
  EXPECT_EQ(order, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
  used->step(done);  // nothing to do
  EXPECT_EQ(order.size(), 6u);
}

TEST_P(ContinuousTest, ACancelledRequestIsGoneAndDisturbsNobody) {
  const auto requests = many_requests();
  auto used = engine(6);
  const Results whole = generate(*used, requests, options_of(3, 1, 30));
  // Cancelled while it waits, while its prompt is computed, while it decodes; and after the end.
  for (const int steps : {0, 1, 3, 12, 40}) {
    Results results;
    std::vector<std::int64_t> handles;
    for (const auto& request : requests) handles.push_back(used->submit(request, options_of(3, 1, 30)));
    for (int step = 0; step < steps; ++step) used->step(into(results));
    std::vector<std::string> cancelled;
    for (const std::size_t i : {0u, 5u, 9u}) {
      if (used->cancel(handles[i])) cancelled.push_back(requests[i].problem_id);
      EXPECT_FALSE(used->cancel(handles[i]));
    }
    while (!used->idle()) used->step(into(results));
    Results expected = whole;
    for (auto it = expected.begin(); it != expected.end();) {
      const bool gone = std::find(cancelled.begin(), cancelled.end(), it->first.first) != cancelled.end();
      it = gone ? expected.erase(it) : std::next(it);
    }
    EXPECT_GE(cancelled.size(), 2u);
    expect_equal(expected, results);
  }
}

TEST_P(ContinuousTest, NewWeightsInFlightContinueAsTheNewPolicyWould) {
  const GenerationRequest request{0, "p", prompt_of(45, spec_.vocabulary), 3, 0};
  auto used = engine(4);
  Results results;
  std::map<int, std::size_t> written;  // tokens of each sample at the update
  used->submit(request, options_of(5, 0.9, 60));
  const Engine::OnToken count = [&](std::int64_t, int sample, std::int32_t) { ++written[sample]; };
  for (int step = 0; step < 21; ++step) used->step(into(results), count);
  load_weights(*used, true, 7);
  while (!used->idle()) used->step(into(results));

  EngineOptions options;
  auto fresh = engine(options, true, 7), old = engine(options, false, 1);
  const Results before = generate(*old, {request}, options_of(5, 0.9, 60));
  for (const auto& [key, completion] : results) {
    EXPECT_EQ(completion.oldest_version, 1);
    EXPECT_EQ(completion.newest_version, 7);
    const std::size_t cut = written.at(key.second);
    ASSERT_EQ(cut, 21u);
    const auto& first = before.at(key);
    EXPECT_TRUE(std::equal(completion.tokens.begin(), completion.tokens.begin() + 21, first.tokens.begin()));
    EXPECT_NE(completion.tokens, first.tokens);
    // The next token's log-probability is the new policy's, given prompt and text so far.
    GenerationRequest longer = request;
    longer.samples = 4000;
    longer.prompt.insert(longer.prompt.end(), completion.tokens.begin(), completion.tokens.begin() + 21);
    bool found = false;
    for (const auto& [sample, one] : generate(*fresh, {longer}, options_of(1, 0.9, 1))) {
      if (one.tokens[0] != completion.tokens[21]) continue;
      found = true;
      EXPECT_EQ(one.logprobs[0], completion.logprobs[21]);
    }
    EXPECT_TRUE(found);
  }
  EXPECT_GT(used->stats().recomputed_tokens, 45);
  EXPECT_EQ(used->stats().preemptions, 0);
}

TEST_P(ContinuousTest, NewWeightsMayAlsoLeaveTheCacheAsItIs) {
  const GenerationRequest request{0, "p", prompt_of(45, spec_.vocabulary), 2, 0};
  EngineOptions options;
  options.kv_on_update = KvOnUpdate::keep;
  Results kept, recomputed;
  for (Results* results : {&kept, &recomputed}) {
    auto used = engine(options);
    used->submit(request, options_of(5, 0.9, 60));
    for (int step = 0; step < 21; ++step) used->step(into(*results));
    load_weights(*used, true, 7);
    while (!used->idle()) used->step(into(*results));
    EXPECT_EQ(used->stats().recomputed_tokens, results == &kept ? 0 : 45 + 2 * 20);
    options.kv_on_update = KvOnUpdate::recompute;
  }
  for (const auto& [key, completion] : kept) {
    EXPECT_EQ(completion.oldest_version, 1);
    EXPECT_EQ(completion.newest_version, 7);
    EXPECT_NE(completion.logprobs[21], recomputed.at(key).logprobs[21]);
  }
  // The same weights again change nothing, whichever way.
  auto used = engine(options);
  const Results plain = generate(*used, {request}, options_of(5, 0.9, 60));
  Results results;
  used->submit(request, options_of(5, 0.9, 60));
  for (int step = 0; step < 21; ++step) used->step(into(results));
  load_weights(*used, false, 2);
  while (!used->idle()) used->step(into(results));
  expect_equal(plain, results);
}

// Cut at a moment at which some completions have ended, taken over by an engine with another batch, prompts and all.
TEST_P(ContinuousTest, WhatIsInFlightGoesOnInAnotherEngine) {
  auto requests = many_requests();
  for (auto& request : requests) request.samples += 2;
  // The model's own tokens end a part of the completions early.
  const auto sampling = [&](std::size_t i) {
    auto options = options_of(3 + i, 1, 40);
    for (std::int32_t id = 0; id < 6; ++id) options.stop_ids.push_back(id * 31 + 5);
    return options;
  };
  auto whole = engine(16);
  Results expected;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    for (auto& [key, completion] : generate(*whole, {requests[i]}, sampling(i))) expected[key] = completion;
  }
  int ended_before = 0, begun_before = 0;
  for (const int steps : {1, 4, 9, 30}) {
    Results results;
    auto first = engine(16), second = engine(5);
    for (std::size_t i = 0; i < requests.size(); ++i) first->submit(requests[i], sampling(i));
    for (int step = 0; step < steps; ++step) first->step(into(results));
    std::set<std::int64_t> reported;
    for (const auto& [key, completion] : results) {
      for (const auto& request : requests) {
        if (request.problem_id == key.first) reported.insert(request.tag);
      }
    }
    std::map<std::int64_t, std::vector<Completion>> cut;
    first->for_each_in_flight([&](const GenerationRequest& request, const std::vector<Completion>& completions) {
      cut[request.tag] = completions;
    });
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (reported.count(requests[i].tag) > 0) {
        EXPECT_EQ(cut.count(requests[i].tag), 0u);
        continue;
      }
      GenerationRequest again = requests[i];
      if (cut.count(again.tag) > 0) {
        again.begun = cut[again.tag];
        ++begun_before;
      }
      for (const auto& completion : again.begun) ended_before += completion.finish != FinishReason::unfinished ? 1 : 0;
      second->submit(std::move(again), sampling(i));
    }
    while (!second->idle()) second->step(into(results));
    expect_equal(expected, results);
  }
  EXPECT_GT(begun_before, 10);
  EXPECT_GT(ended_before, 10);
}

TEST_P(ContinuousTest, WhatGoesOnWithNewWeightsKeepsItsFirstVersion) {
  const GenerationRequest request{0, "p", prompt_of(45, spec_.vocabulary), 3, 0};
  Results moved, stayed;
  auto first = engine(4);
  first->submit(request, options_of(5, 0.9, 60));
  for (int step = 0; step < 21; ++step) first->step(into(stayed));
  GenerationRequest again = request;
  first->for_each_in_flight([&](const GenerationRequest&, const std::vector<Completion>& completions) {
    for (const auto& completion : completions) EXPECT_EQ(completion.finish, FinishReason::unfinished);
    again.begun = completions;
  });
  auto second = engine(EngineOptions(), true, 7);
  second->submit(again, options_of(5, 0.9, 60));
  while (!second->idle()) second->step(into(moved));
  load_weights(*first, true, 7);  // what the same engine makes of the new weights
  while (!first->idle()) first->step(into(stayed));
  expect_equal(stayed, moved);
  for (const auto& [key, completion] : moved) {
    EXPECT_EQ(completion.oldest_version, 1);
    EXPECT_EQ(completion.newest_version, 7);
  }
  again.begun[1].finish = again.begun[2].finish = again.begun[0].finish = FinishReason::length;
  EXPECT_THROW(second->submit(again, options_of(5, 0.9, 60)), BugError);  // nothing is left to do
  again.begun.pop_back();
  EXPECT_THROW(second->submit(again, options_of(5, 0.9, 60)), BugError);
}

TEST_P(ContinuousTest, HalfTheCacheAndLessGiveTheSameText) {
  const bool bf16 = GetParam() == at::kBFloat16;
  const auto requests = many_requests();
  const auto sampling = options_of(3, 1, 70);
  const Results whole = generate(*engine(16), requests, sampling);
  // 16 sequences of about 100 + 70 positions need some 100 pages; one of 290 + 70 needs 12, and one more to copy.
  const std::int64_t page = kv_bytes_per_token(spec_, bf16) * kPageTokens;
  for (const std::int64_t pages : {50, 25, 13}) {
    EngineOptions options;
    options.max_batch = 16;
    options.kv_cache_bytes = pages * page;
    auto used = engine(options);
    expect_equal(whole, generate(*used, requests, sampling));
    EXPECT_GT(used->stats().preemptions, 0) << pages;
    EXPECT_GT(used->stats().recomputed_tokens, 0) << pages;
    std::int64_t prompt_tokens = 0;
    for (const auto& request : requests) prompt_tokens += static_cast<std::int64_t>(request.prompt.size());
    EXPECT_EQ(used->stats().prompt_tokens, prompt_tokens);
    expect_equal(whole, generate(*used, requests, sampling));  // all pages came back
  }
  EngineOptions options;
  options.kv_cache_bytes = 12 * page;
  try {
    generate(*engine(options), requests, sampling);
    FAIL() << "a request that cannot fit was taken";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("problem-5"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("rollout.kv_cache_bytes"), std::string::npos) << error.what();
  }
}

TEST_P(ContinuousTest, BytesOfATokenAreThoseOfTheCache) {
  const bool bf16 = GetParam() == at::kBFloat16;
  for (const std::int64_t head_size : {12, 64, 80, 128}) {
    auto spec = spec_;
    spec.head_size = head_size;
    const KvCache cache(spec, bf16);
    EXPECT_EQ(cache.page_bytes(), kv_bytes_per_token(spec, bf16) * kPageTokens) << head_size;
  }
  // The plan reckons with the same bytes.
  for (const auto& shape : topology::known_shapes()) {
    auto known = spec_;
    known.layers = shape.layers;
    known.kv_heads = shape.kv_heads;
    known.head_size = shape.head_size;
    EXPECT_EQ(kv_bytes_per_token(known, bf16), shape.kv_elements() * (bf16 ? 2 : 4)) << shape.name;
  }
  // Llama-3.1-8B: 32 layers, 8 groups of 128: 128 KiB a token in bfloat16.
  auto spec = spec_;
  spec.layers = 32;
  spec.kv_heads = 8;
  spec.head_size = 128;
  EXPECT_EQ(kv_bytes_per_token(spec, bf16), bf16 ? 131072 : 262144);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, ContinuousTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& test) { return test.param == at::kFloat ? "float32" : "bfloat16"; });

}  // namespace
}  // namespace setrl::rollout
