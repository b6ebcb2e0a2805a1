#include "topology/groups.h"

#include "base/error.h"

namespace setrl::topology {

Groups make_groups(comm::Communicator& world, const Plan& plan) {
  SETRL_CHECK(plan.ranks.size() == static_cast<std::size_t>(world.size()), "a plan for {} ranks, a world of {}",
              plan.ranks.size(), world.size());
  const int me = world.rank();
  const RankPlan& mine = plan.ranks[static_cast<std::size_t>(me)];
  Groups groups;
  groups.world = &world;
  groups.learners = world.split(mine.learner ? 0 : -1, "learners");

  bool anyone_pulls = false;
  for (const auto& rank : plan.ranks) anyone_pulls = anyone_pulls || (rank.rollout && !rank.learner);
  anyone_pulls = anyone_pulls && !plan.learner_ranks.empty();
  groups.push = world.split(anyone_pulls && (mine.learner || mine.rollout) ? 0 : -1, "push");
  if (plan.tensor_parallel > 1) groups.replica = world.split(plan.part_of(me).replica, "replica");
  return groups;
}

}  // namespace setrl::topology
