// What the version-1 files in tests/fixtures/store hold. make_fixture.cpp wrote them with the first release of the
// format; fixture_test.cpp reads them with this one. Never changed: later versions get a fixture beside it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "store/checkpoint.h"
#include "store/trajectory_file.h"

namespace setrl::store::fixture {

constexpr std::int64_t kStep = 3;

inline float value(std::size_t tensor, std::int64_t element) {
  return static_cast<float>(tensor) + static_cast<float>(element) / 128.0f;
}

inline const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& tensors() {
  static const std::vector<std::pair<std::string, std::vector<std::int64_t>>> list = {
      {"parameters/model.embed_tokens.weight", {40, 8}},
      {"parameters/model.norm.weight", {8}},
      {"parameters/scale", {}},
      {"moment1/model.embed_tokens.weight", {40, 8}},
      {"moment1/model.norm.weight", {8}},
      {"moment1/scale", {}},
      {"moment2/model.embed_tokens.weight", {40, 8}},
      {"moment2/model.norm.weight", {8}},
      {"moment2/scale", {}},
  };
  return list;
}

// The slices of one of several ranks: bounds in the middle of rows.
class State {
 public:
  State(int rank, int ranks, bool filled) {
    for (std::size_t t = 0; t < tensors().size(); ++t) {
      TensorView view{tensors()[t].first, tensors()[t].second};
      view.begin = view.elements() * rank / ranks;
      view.end = view.elements() * (rank + 1) / ranks;
      std::vector<float> values;
      for (std::int64_t i = view.begin; i < view.end; ++i) values.push_back(filled ? value(t, i) : 0);
      memory_.push_back(std::move(values));
      view.data = memory_.back().data();
      views_.push_back(std::move(view));
    }
  }
  const std::vector<TensorView>& views() const { return views_; }
  const std::vector<std::vector<float>>& values() const { return memory_; }

 private:
  std::vector<TensorView> views_;
  std::vector<std::vector<float>> memory_;
};

inline CheckpointInfo info() {
  CheckpointInfo info;
  info.step = kStep;
  info.policy_version = 3;
  info.optimizer_steps = 2;
  info.config = "[run]\nseed = 43\n";
  info.config_hash = "00c0ffee00c0ffee";
  info.model_config = "{\"hidden_size\": 8}";
  info.extra = "{\"kind\": \"train\"}";
  info.files = {{"tokenizer.json", "{}"}};
  return info;
}

inline StoredGroup group() {
  StoredGroup stored;
  stored.group.step = kStep;
  stored.group.policy_version = 2;
  stored.group.problem = {"demo/1", "demo", {{"user", "Fever and cough?"}}, {{"influenza", {"flu"}, 0.75}}, "{}"};
  stored.group.prompt = {"demo/1", {1, 2, 3}};
  Completion completion;
  completion.problem_id = "demo/1";
  completion.tokens = {7, 8, 9};
  completion.logprobs = {-0.5f, -0.25f, -1.0f};
  completion.oldest_version = completion.newest_version = 2;
  completion.finish = FinishReason::end_of_turn;
  Verdict verdict;
  verdict.answers = {"Could be flu.", {"flu", "none"}, {0.75, 0.25}, ""};
  verdict.correct = {1, 0};
  verdict.matched_gold = {0, kAbstained};
  verdict.terms = {{"format", 0.5}, {"correct", 0.5}};
  verdict.total = 1;
  stored.group.completions = {completion};
  stored.group.verdicts = {verdict};
  stored.texts = {"<think>Could be flu.</think>"};
  return stored;
}

}  // namespace setrl::store::fixture
