// Temporary folders, groups and model states for the store's tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "comm/communicator.h"
#include "records/wire.h"
#include "store/checkpoint.h"
#include "store/trajectory_file.h"

namespace setrl::store {

namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "setrl-store-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no temporary folder";
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (fs::path(path_) / name).string(); }

 private:
  std::string path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// The error of `work`, or "" where it throws no UserError.
template <typename Work>
std::string user_error_of(Work&& work) {
  try {
    work();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

// ---- groups ----

inline Verdict sample_verdict(RandomStream& random) {
  Verdict verdict;
  verdict.answers.think = "Fever and cough \xE2\x80\x94 \xE8\x82\xBA\xE7\x82\x8E?";
  switch (random.below(4)) {
    case 0:
      verdict.outcome = Outcome::bad_format;
      verdict.answers.malformed_reason = "answer 2 is missing";
      return verdict;
    case 1:
      verdict.outcome = Outcome::infrastructure_failure;
      verdict.answers.answers = {"x"};
      return verdict;
    default: break;
  }
  const bool confidences = random.below(2) == 0;
  const std::size_t k = 1 + random.below(5);
  for (std::size_t i = 0; i < k; ++i) {
    verdict.answers.answers.push_back("Answer \xC3\xA9\xF0\x9F\x98\x80 " + std::to_string(i));
    if (confidences) verdict.answers.confidences.push_back(random.uniform());
    verdict.correct.push_back(static_cast<std::uint8_t>(random.below(2)));
    verdict.matched_gold.push_back(static_cast<std::int32_t>(random.below(4)) - 1);
  }
  if (k % 2 == 0) {
    for (std::size_t i = 0; i < k; ++i) verdict.f1.push_back(static_cast<double>(i) / static_cast<double>(k));
  }
  if (k == 3) {
    for (std::size_t i = 0; i < k; ++i)
      verdict.programs.push_back({~std::uint64_t{0} - i, i, i == 0 ? "" : "no \xC3\xA9"});
  }
  verdict.terms = {{"format", 0.5}, {"correct", random.normal()}};
  if (confidences) verdict.terms.push_back({"calibration", random.uniform()});
  for (const auto& term : verdict.terms) verdict.total += term.value;
  return verdict;
}

inline StoredGroup sample_group(std::int64_t step, std::int64_t index, std::size_t completions, std::size_t tokens) {
  RandomStream random(7, static_cast<std::uint64_t>(step * 1000 + index));
  StoredGroup stored;
  Group& group = stored.group;
  group.step = step;
  group.index = index;
  group.policy_version = step - 1;
  group.problem = {"case-" + std::to_string(index),
                   "demo",
                   {{"system", "You diagnose."}, {"user", "A \"quoted\" line\nand a tab\t\xC3\xBC"}},
                   {{"Pneumonia", {"lung infection"}, 0.61}, {"Bronchitis", {}, -1}},
                   "{\"pathology\": \"Pneumonia\"}"};
  group.prompt.problem_id = group.problem.id;
  const std::size_t prompt_tokens = 5 + random.below(20);
  for (std::size_t i = 0; i < prompt_tokens; ++i) {
    group.prompt.tokens.push_back(static_cast<std::int32_t>(random.below(49152)));
  }
  for (std::size_t g = 0; g < completions; ++g) {
    Completion completion;
    completion.problem_id = group.problem.id;
    completion.sample_index = static_cast<std::int32_t>(g);
    const std::size_t length = random.below(tokens + 1);
    for (std::size_t i = 0; i < length; ++i) {
      completion.tokens.push_back(static_cast<std::int32_t>(random.below(49152)));
      completion.logprobs.push_back(static_cast<float>(-3 * random.uniform()));
    }
    if (g % 3 == 1 && length > 0) {
      completion.forced.assign(length, 0);
      std::fill(completion.forced.begin() + static_cast<std::ptrdiff_t>(length / 2), completion.forced.end(), 1);
    }
    completion.oldest_version = step - 2;
    completion.newest_version = step - 1;
    completion.finish = random.below(2) == 0 ? FinishReason::end_of_turn : FinishReason::length;
    group.completions.push_back(std::move(completion));
    group.verdicts.push_back(sample_verdict(random));
    stored.texts.push_back("<think>Fever\xE2\x80\xA6</think>" + std::string(random.below(tokens + 1), 'a'));
  }
  return stored;
}

// Every field, through the records' own encoding.
inline void expect_equal(const StoredGroup& a, const StoredGroup& b) {
  EXPECT_EQ(encode(a.group), encode(b.group));
  EXPECT_EQ(a.texts, b.texts);
}

// ---- model states ----

// One rank's slices of a small model: shapes of one to three dimensions, a scalar, one tensor of several checksum
// blocks, one that is empty. `salt` gives other values, so that states of different steps differ.
class SampleState {
 public:
  SampleState(int rank, int ranks, std::uint64_t salt, bool filled = true) {
    add("parameters/embedding.weight", {700, 1000}, rank, ranks);
    add("parameters/layers.0.weight", {33, 65}, rank, ranks);
    add("parameters/layers.0.bias", {65}, rank, ranks);
    add("parameters/conv", {5, 7, 11}, rank, ranks);
    add("moment1/layers.0.weight", {33, 65}, rank, ranks);
    add("parameters/scale", {}, rank, ranks);
    add("parameters/none", {0, 4}, rank, ranks);
    for (std::size_t t = 0; t < views_.size(); ++t) {
      views_[t].data = storage_[t].data();
      for (std::int64_t i = views_[t].begin; filled && i < views_[t].end; ++i) {
        storage_[t][static_cast<std::size_t>(i - views_[t].begin)] = value(t, i, salt);
      }
    }
  }

  const std::vector<TensorView>& views() const { return views_; }
  bool equals(const SampleState& other) const {
    for (std::size_t t = 0; t < storage_.size(); ++t) {
      const auto& a = storage_[t];
      const auto& b = other.storage_[t];
      if (a.size() != b.size() || (!a.empty() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) != 0))
        return false;
    }
    return true;
  }

 private:
  static float value(std::size_t tensor, std::int64_t i, std::uint64_t salt) {
    std::uint64_t mixed =
        (static_cast<std::uint64_t>(i) + 1) * 0x9E3779B97F4A7C15u + tensor * 77 + salt * 0xD1B54A32D192ED03u;
    mixed ^= mixed >> 29;
    return static_cast<float>(static_cast<std::int64_t>(mixed % 2000003)) / 1000.0f - 1000.0f;
  }

  // Flat and uneven, so that bounds fall inside rows.
  void add(const std::string& name, std::vector<std::int64_t> shape, int rank, int ranks) {
    TensorView view;
    view.name = name;
    view.shape = std::move(shape);
    const std::int64_t elements = view.elements();
    const auto bound = [&](int r) { return r == ranks ? elements : elements * r * (r + 2) / (ranks * (ranks + 2)); };
    view.begin = bound(rank);
    view.end = bound(rank + 1);
    storage_.emplace_back(static_cast<std::size_t>(view.end - view.begin));
    views_.push_back(std::move(view));
  }

  std::vector<TensorView> views_;
  std::vector<std::vector<float>> storage_;
};

inline CheckpointInfo sample_info(std::int64_t step) {
  CheckpointInfo info;
  info.step = step;
  info.policy_version = step + 1;
  info.optimizer_steps = 2 * step;
  info.config = "run.seed = 1\nmodel.path = \xC3\xBC\n";
  info.config_hash = "abc123";
  info.model_config = "{\"hidden_size\": 64}";
  info.extra = "{\"best\": 0.5}";
  info.files = {{"tokenizer.json", std::string("{\"a\":\"\0b\"}", 10)}, {"empty.txt", ""}};
  return info;
}

inline std::string save_sample(const std::string& run_dir, std::int64_t step, int keep = 100) {
  const auto alone = comm::make_local_communicator("learners");
  const SampleState state(0, 1, static_cast<std::uint64_t>(step));
  return save_checkpoint(run_dir, sample_info(step), state.views(), {keep}, *alone);
}

// Whether the folder holds what save_sample(step) wrote, bit for bit.
inline bool holds_sample(const std::string& folder, std::int64_t step) {
  const SampleState expected(0, 1, static_cast<std::uint64_t>(step));
  const SampleState loaded(0, 1, 0, false);
  load_checkpoint(folder, loaded.views());
  const CheckpointInfo info = read_checkpoint_info(folder);
  return loaded.equals(expected) && info.step == step && info.files == sample_info(step).files;
}

}  // namespace setrl::store
