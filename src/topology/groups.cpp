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

  const int first_learner = plan.learner_ranks.empty() ? -1 : plan.learner_ranks.front();
  bool anyone_pulls = false;
  for (const int rank : plan.rollout_ranks) {
    if (first_learner < 0) break;
    if (plan.ranks[static_cast<std::size_t>(rank)].learner) continue;
    anyone_pulls = true;
    if (rank < first_learner) ++groups.push_root;
  }
  const bool pulls = mine.rollout && !mine.learner && first_learner >= 0;
  groups.push = world.split(pulls || (anyone_pulls && me == first_learner) ? 0 : -1, "push");
  return groups;
}

}  // namespace setrl::topology
