#include "topology/groups.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/mpi_world.h"

namespace setrl::topology {
namespace {

using testing::world;

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
  const Groups groups = make_groups(world(), plan_of(roles, 1));
  ASSERT_NE(groups.push, nullptr);
  EXPECT_EQ(groups.push->size(), ranks);
  EXPECT_EQ(groups.learners != nullptr, world().rank() > 0);
}

TEST(Groups, HaveNoPushWithoutLearnersOrWithoutOthers) {
  const auto ranks = static_cast<std::size_t>(world().size());
  const Groups evaluation = make_groups(world(), plan_of(std::vector<RankPlan>(ranks, {true, true, false}), 1));
  EXPECT_EQ(evaluation.push, nullptr);
  EXPECT_EQ(evaluation.learners, nullptr);
  const Groups replay = make_groups(world(), plan_of(std::vector<RankPlan>(ranks, {false, false, true}), 1));
  EXPECT_EQ(replay.push, nullptr);
  ASSERT_NE(replay.learners, nullptr);
  EXPECT_EQ(replay.learners->size(), world().size());
}

TEST(Groups, JoinTheRanksOfAReplica) {
  const int ranks = world().size();
  const std::vector<RankPlan> roles(static_cast<std::size_t>(ranks), {true, true, false});
  EXPECT_EQ(make_groups(world(), plan_of(roles, 1)).replica, nullptr);
  if (ranks % 2 != 0) GTEST_SKIP() << "needs an even number of ranks";
  const Groups pairs = make_groups(world(), plan_of(roles, 2));
  ASSERT_NE(pairs.replica, nullptr);
  EXPECT_EQ(pairs.replica->size(), 2);
  EXPECT_EQ(pairs.replica->rank(), world().rank() % 2);
  int lead = world().rank();
  pairs.replica->broadcast(&lead, sizeof lead, 0);
  EXPECT_EQ(lead, world().rank() / 2 * 2);
}

// Ranks that do not generate belong to none.
TEST(Groups, OfReplicasLeaveOthersOut) {
  if (world().size() != 4) GTEST_SKIP() << "needs four ranks";
  const Groups groups = make_groups(world(), make_plan(TopologySection{}, 4, 2));
  const bool generates = world().rank() == 1 || world().rank() == 2;
  EXPECT_EQ(groups.replica != nullptr, generates);
  EXPECT_EQ(groups.push != nullptr, world().rank() < 3);
}

TEST(Groups, RefuseAPlanForAnotherWorld) {
  EXPECT_THROW(make_groups(world(), make_plan(TopologySection{}, world().size() + 1)), BugError);
}

}  // namespace
}  // namespace setrl::topology
