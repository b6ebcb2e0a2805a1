#include "learn/packing.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "learn/tiny_model.h"

namespace setrl::learn {
namespace {

TrainingBatch two_groups() {
  TrainingBatch batch;
  TrainingGroup second{
      1, {1, 2, 3}, {{{4, 5}, {}, {}, 1, false}, {{6}, {}, {}, 1, true}, {{7, 8, 9}, {}, {}, 1, false}}};
  TrainingGroup first{0, {10, 11}, {{{12, 13}, {}, {}, 1, false}}};
  batch.groups = {second, first};
  return batch;
}

std::vector<std::int64_t> values(const at::Tensor& tensor) {
  return {tensor.data_ptr<std::int64_t>(), tensor.data_ptr<std::int64_t>() + tensor.numel()};
}

TEST(Packing, LaysGroupsOutInOrderOfIndex) {
  const auto parts = pack(two_groups(), 1000, 20, false);
  ASSERT_EQ(parts.size(), 1u);
  const auto& part = parts[0];
  EXPECT_EQ(values(part.ids), (std::vector<std::int64_t>{10, 11, 12, 1, 2, 3, 4, 7, 8}));
  EXPECT_EQ(values(part.positions), (std::vector<std::int64_t>{0, 1, 2, 0, 1, 2, 3, 3, 4}));
  EXPECT_EQ(values(part.loss_rows), (std::vector<std::int64_t>{1, 2, 5, 6, 5, 7, 8}));
  EXPECT_EQ(part.targets, (std::vector<std::int32_t>{12, 13, 4, 5, 7, 8, 9}));
  ASSERT_EQ(part.sequences.size(), 3u);
  EXPECT_EQ(part.sequences[0].group, 1u);
  EXPECT_EQ(part.sequences[2].index, 2u);
  EXPECT_EQ(part.groups[1].completion_rows, (std::vector<std::int64_t>{1, 2}));
}

TEST(Packing, SplitsGroupsThatExceedTheBudget) {
  const auto parts = pack(two_groups(), 5, 20, false);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(values(parts[0].ids), (std::vector<std::int64_t>{10, 11, 12}));
  EXPECT_EQ(values(parts[1].ids), (std::vector<std::int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(values(parts[2].ids), (std::vector<std::int64_t>{1, 2, 3, 7, 8}));
}

TEST(Packing, KeepsMaskedSequencesOnRequest) {
  const auto parts = pack(two_groups(), 1000, 20, true);
  EXPECT_EQ(parts[0].targets, (std::vector<std::int32_t>{12, 13, 4, 5, 6, 7, 8, 9}));
}

TEST(Packing, ForcedTokensAreInputButNoLossTokens) {
  TrainingBatch batch;
  batch.groups = {
      {0, {1, 2}, {{{4, 5, 6, 7}, {-1, -2, -3, -4}, {0, 1, 1, 0}, 1, false}, {{8, 9}, {-5, -6}, {1, 1}, 1, false}}}};
  const auto parts = pack(batch, 1000, 20, false);
  ASSERT_EQ(parts.size(), 1u);
  ASSERT_EQ(parts[0].sequences.size(), 1u);
  EXPECT_EQ(values(parts[0].ids), (std::vector<std::int64_t>{1, 2, 4, 5, 6}));
  EXPECT_EQ(values(parts[0].loss_rows), (std::vector<std::int64_t>{1, 4}));
  EXPECT_EQ(parts[0].targets, (std::vector<std::int32_t>{4, 7}));
  EXPECT_EQ(parts[0].sequences[0].count, 2);
  EXPECT_EQ(parts[0].sequences[0].rollout_logprobs, (std::vector<float>{-1, -4}));
  const auto all = pack(batch, 1000, 20, true);
  EXPECT_EQ(all[0].targets, (std::vector<std::int32_t>{4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(all[0].sequences[1].rollout_logprobs, (std::vector<float>{-5, -6}));
}

TEST(Packing, RefusesTokensOutsideTheVocabulary) {
  EXPECT_THROW(pack(two_groups(), 1000, 13, false), BugError);
}

TEST(Packing, MakesNothingOfNothing) {
  EXPECT_TRUE(pack({}, 100, 10, false).empty());
}

}  // namespace
}  // namespace setrl::learn
