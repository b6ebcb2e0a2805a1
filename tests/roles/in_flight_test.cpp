// Which groups a checkpoint takes along, and which of them a continuation may train.
#include "roles/in_flight.h"

#include <gtest/gtest.h>

namespace setrl::roles {
namespace {

// Two completions of `tokens` tokens by versions `oldest` .. `newest`.
Group group_of(std::int64_t step, std::int64_t index, Stage stage, std::int64_t oldest, std::int64_t newest,
               std::size_t tokens = 3) {
  Group group;
  group.step = step;
  group.index = index;
  group.prompt.tokens = {1, 2};
  for (int sample = 0; sample < 2; ++sample) {
    Completion completion;
    completion.sample_index = sample;
    completion.tokens.assign(tokens, 7);
    completion.logprobs.assign(tokens, -1);
    completion.oldest_version = oldest;
    completion.newest_version = newest;
    // One is whole before the other.
    completion.finish = stage == Stage::begun && sample == 1 ? FinishReason::unfinished : FinishReason::length;
    group.completions.push_back(completion);
  }
  if (stage == Stage::graded) group.verdicts.resize(2);
  return group;
}

using Places = std::vector<std::pair<std::int64_t, std::int64_t>>;

Places places_of(const std::vector<Group>& groups) {
  Places places;
  for (const auto& group : groups) places.emplace_back(group.step, group.index);
  return places;
}

TEST(InFlightCut, HoldsLaterStepsByVersionsUpToTheCheckpoints) {
  InFlightCut cut(5, 2);
  cut.add(group_of(7, 1, Stage::begun, 5, 5));
  cut.add(group_of(6, 3, Stage::graded, 4, 5));
  cut.add(group_of(6, 0, Stage::generated, 4, 4));
  cut.add(group_of(5, 0, Stage::graded, 4, 4));  // trained
  cut.add(group_of(7, 0, Stage::graded, 5, 6));  // went on with weights that the checkpoint has not
  EXPECT_EQ(cut.waiting(), 2);
  cut.told();
  EXPECT_EQ(cut.waiting(), 1);
  const auto groups = cut.take();
  EXPECT_EQ(places_of(groups), (Places{{6, 0}, {6, 3}, {7, 1}}));
  EXPECT_EQ(stage_of(groups[0]), Stage::generated);
  EXPECT_EQ(stage_of(groups[1]), Stage::graded);
  EXPECT_EQ(stage_of(groups[2]), Stage::begun);
  EXPECT_EQ(describe_in_flight(groups), "1 graded, 1 generated, 1 begun, 18 tokens of completions");
}

TEST(InFlightCut, OfTwoCopiesTheFurtherOneCounts) {
  const std::vector<Group> copies = {group_of(6, 0, Stage::begun, 5, 5, 3), group_of(6, 0, Stage::begun, 5, 5, 9),
                                     group_of(6, 0, Stage::generated, 5, 5, 9), group_of(6, 0, Stage::graded, 5, 5, 9)};
  for (std::size_t a = 0; a < copies.size(); ++a) {
    for (std::size_t b = 0; b < copies.size(); ++b) {
      InFlightCut cut(5, 1);
      cut.add(copies[a]);
      cut.add(copies[b]);
      const auto groups = cut.take();
      ASSERT_EQ(groups.size(), 1u);
      const Group& further = copies[std::max(a, b)];
      EXPECT_EQ(stage_of(groups[0]), stage_of(further)) << a << " " << b;
      EXPECT_EQ(groups[0].token_count(), further.token_count()) << a << " " << b;
    }
  }
}

TEST(UsableGroups, AreThoseThatTheContinuationMayTrain) {
  const std::vector<Group> groups = {
      group_of(6, 0, Stage::graded, 3, 5),  // of step 6, which trains version 5: two updates old
      group_of(6, 1, Stage::graded, 4, 5),  // one
      group_of(6, 2, Stage::begun, 5, 5),   // none
      group_of(7, 0, Stage::begun, 5, 5),   // one
      group_of(8, 0, Stage::begun, 5, 5),   // two
      group_of(9, 0, Stage::begun, 5, 5),   // three
  };
  const auto usable = [&](int staleness, std::int64_t done, std::int64_t last, int samples) {
    return places_of(usable_groups(groups, {done, last, staleness, samples}));
  };
  EXPECT_EQ(usable(2, 5, 99, 2), (Places{{6, 0}, {6, 1}, {6, 2}, {7, 0}, {8, 0}}));
  EXPECT_EQ(usable(1, 5, 99, 2), (Places{{6, 1}, {6, 2}, {7, 0}}));
  EXPECT_EQ(usable(0, 5, 99, 2), (Places{{6, 2}}));
  EXPECT_EQ(usable(2, 5, 7, 2), (Places{{6, 0}, {6, 1}, {6, 2}, {7, 0}}));  // the run ends before step 8
  EXPECT_EQ(usable(2, 6, 99, 2), (Places{{7, 0}, {8, 0}}));
  EXPECT_EQ(usable(9, 4, 99, 2), Places{});  // by weights that the checkpoint has not
  EXPECT_EQ(usable(2, 5, 99, 4), Places{});  // of another size
}

TEST(RestoredGroups, AreTakenOnceByTheirPlace) {
  RestoredGroups restored(
      {group_of(6, 0, Stage::graded, 5, 5), group_of(6, 1, Stage::begun, 5, 5), group_of(7, 0, Stage::begun, 5, 5)});
  EXPECT_EQ(restored.find(6, 2), nullptr);
  ASSERT_NE(restored.find(6, 1), nullptr);
  EXPECT_EQ(restored.find(6, 1)->index, 1);
  EXPECT_EQ(restored.take(6, 1)->index, 1);
  EXPECT_FALSE(restored.take(6, 1).has_value());
  restored.drop_until(6);
  EXPECT_EQ(restored.find(6, 0), nullptr);
  EXPECT_NE(restored.find(7, 0), nullptr);
}

}  // namespace
}  // namespace setrl::roles
