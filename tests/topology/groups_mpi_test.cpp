#include "topology/groups.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/mpi_world.h"

namespace setrl::topology {
namespace {

using testing::world;

Plan plan_of(const std::vector<RankPlan>& ranks) {
  Plan plan;
  plan.ranks = ranks;
  for (int r = 0; r < static_cast<int>(ranks.size()); ++r) {
    const RankPlan& roles = ranks[static_cast<std::size_t>(r)];
    if (roles.learner) plan.learner_ranks.push_back(r);
    if (roles.rollout) plan.rollout_ranks.push_back(r);
    if (roles.verifier) plan.verifier_ranks.push_back(r);
  }
  return plan;
}

TEST(Groups, FollowTheChosenPlan) {
  const Plan plan = make_plan(TopologySection{}, world().size());
  const Groups groups = make_groups(world(), plan);
  const RankPlan& mine = plan.ranks[static_cast<std::size_t>(world().rank())];
  EXPECT_EQ(groups.world, &world());
  ASSERT_EQ(groups.learners != nullptr, mine.learner);
  if (mine.learner) {
    EXPECT_EQ(groups.learners->size(), static_cast<int>(plan.learner_ranks.size()));
    EXPECT_EQ(groups.learners->rank(), world().rank());
  }
  // One rank pushes to itself without a communicator.
  const bool in_push = world().size() > 1 && (mine.learner || mine.rollout);
  ASSERT_EQ(groups.push != nullptr, in_push);
  if (in_push) {
    EXPECT_EQ(groups.push->size(), static_cast<int>(plan.learner_ranks.size() + plan.rollout_ranks.size()));
  }
}

// Where one rank generates that does not learn, those that do both are in the push too.
TEST(Groups, PushToRanksThatLearnThemselvesAsWell) {
  const int ranks = world().size();
  if (ranks < 3) GTEST_SKIP() << "needs three ranks";
  std::vector<RankPlan> roles(static_cast<std::size_t>(ranks), RankPlan{true, true, true});
  roles[0] = {true, false, false};
  const Groups groups = make_groups(world(), plan_of(roles));
  ASSERT_NE(groups.push, nullptr);
  EXPECT_EQ(groups.push->size(), ranks);
  EXPECT_EQ(groups.learners != nullptr, world().rank() > 0);
}

TEST(Groups, HaveNoPushWithoutLearnersOrWithoutOthers) {
  const auto ranks = static_cast<std::size_t>(world().size());
  const Groups evaluation = make_groups(world(), plan_of(std::vector<RankPlan>(ranks, {true, true, false})));
  EXPECT_EQ(evaluation.push, nullptr);
  EXPECT_EQ(evaluation.learners, nullptr);
  const Groups replay = make_groups(world(), plan_of(std::vector<RankPlan>(ranks, {false, false, true})));
  EXPECT_EQ(replay.push, nullptr);
  ASSERT_NE(replay.learners, nullptr);
  EXPECT_EQ(replay.learners->size(), world().size());
}

TEST(Groups, RefuseAPlanForAnotherWorld) {
  EXPECT_THROW(make_groups(world(), make_plan(TopologySection{}, world().size() + 1)), BugError);
}

}  // namespace
}  // namespace setrl::topology
