#include "learn/packing.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace setrl::learn {

namespace {

// Collects packed rows and turns them into a micro-batch.
class Packer {
 public:
  Packer(std::int64_t vocabulary, bool everything) : vocabulary_(vocabulary), everything_(everything) {}

  std::int64_t rows() const { return static_cast<std::int64_t>(ids_.size()); }

  void begin_group(const std::vector<std::int32_t>& prompt) {
    SETRL_CHECK(!prompt.empty(), "a training group needs a prompt of at least one token");
    PackedGroup group;
    group.prompt_begin = rows();
    group.prompt_rows = static_cast<std::int64_t>(prompt.size());
    for (std::size_t i = 0; i < prompt.size(); ++i) add_row(prompt[i], static_cast<std::int64_t>(i));
    group.completions_begin = rows();
    batch_.groups.push_back(std::move(group));
  }

  void add_sequence(const TrainingSequence& sequence, std::size_t group, std::size_t index) {
    auto& packed = batch_.groups.back();
    const auto count = static_cast<std::int64_t>(sequence.tokens.size());
    const std::int64_t begin = rows();
    PackedSequence own{&sequence, group, index, static_cast<std::int64_t>(batch_.targets.size()), 0, {}};
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const std::int32_t token = sequence.tokens[at];
      check(token);
      if (everything_ || sequence.is_target(at)) {
        batch_.targets.push_back(token);
        loss_rows_.push_back(i == 0 ? packed.completions_begin - 1 : begin + i - 1);
        if (!sequence.rollout_logprobs.empty()) own.rollout_logprobs.push_back(sequence.rollout_logprobs[at]);
        ++own.count;
      }
      if (i + 1 < count) add_row(token, packed.prompt_rows + i);
    }
    batch_.sequences.push_back(std::move(own));
    packed.completion_rows.push_back(count - 1);
  }

  MicroBatch finish() {
    batch_.ids = at::tensor(ids_, at::kLong);
    batch_.positions = at::tensor(positions_, at::kLong);
    batch_.loss_rows = at::tensor(loss_rows_, at::kLong);
    ids_.clear();
    positions_.clear();
    loss_rows_.clear();
    return std::exchange(batch_, MicroBatch{});
  }

 private:
  void check(std::int32_t token) const {
    SETRL_CHECK(token >= 0 && token < vocabulary_, "token {} lies outside the vocabulary of {}", token, vocabulary_);
  }
  void add_row(std::int32_t token, std::int64_t position) {
    check(token);
    ids_.push_back(token);
    positions_.push_back(position);
  }

  std::int64_t vocabulary_;
  bool everything_;
  MicroBatch batch_;
  std::vector<std::int64_t> ids_, positions_, loss_rows_;
};

}  // namespace

std::vector<MicroBatch> pack(const TrainingBatch& batch, std::int64_t token_budget, std::int64_t vocabulary,
                             bool everything) {
  std::vector<std::size_t> order(batch.groups.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return batch.groups[a].index < batch.groups[b].index; });

  std::vector<MicroBatch> result;
  Packer packer(vocabulary, everything);
  const auto flush = [&] {
    if (packer.rows() > 0) result.push_back(packer.finish());
  };
  for (const std::size_t at : order) {
    const TrainingGroup& group = batch.groups[at];
    std::vector<std::size_t> kept;
    std::int64_t tokens = static_cast<std::int64_t>(group.prompt.size());
    for (std::size_t i = 0; i < group.sequences.size(); ++i) {
      const auto& sequence = group.sequences[i];
      if (sequence.tokens.empty()) continue;
      if (!everything && (sequence.masked || sequence.targets() == 0)) continue;
      kept.push_back(i);
      tokens += static_cast<std::int64_t>(sequence.tokens.size()) - 1;
    }
    if (kept.empty()) continue;
    if (packer.rows() + tokens > token_budget) flush();
    packer.begin_group(group.prompt);
    bool first = true;
    for (const std::size_t i : kept) {
      const auto rows = static_cast<std::int64_t>(group.sequences[i].tokens.size()) - 1;
      if (!first && packer.rows() + rows > token_budget) {
        flush();
        packer.begin_group(group.prompt);
      }
      packer.add_sequence(group.sequences[i], at, i);
      first = false;
    }
  }
  flush();
  return result;
}

}  // namespace setrl::learn
