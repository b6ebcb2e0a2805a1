#include <cstdio>

#include "base/error.h"
#include "commands/commands.h"
#include "roles/session.h"
#include "roles/trainer.h"

namespace setrl::commands {

namespace {

topology::Plan all_ranks(int world_size, const topology::RankPlan& roles) {
  topology::Plan plan;
  for (int rank = 0; rank < world_size; ++rank) {
    plan.ranks.push_back(roles);
    if (roles.rollout) plan.rollout_ranks.push_back(rank);
    if (roles.verifier) plan.verifier_ranks.push_back(rank);
    if (roles.learner) plan.learner_ranks.push_back(rank);
  }
  return plan;
}

}  // namespace

int train(const config::ParsedCommand& command, comm::Communicator& world) {
  const RunConfig& config = command.config;
  const auto plan = config.learn.replay.empty() ? topology::make_plan(config.topology, world.size())
                                                : all_ranks(world.size(), {false, false, true});
  if (command.dry_run) {
    if (world.rank() == 0) fmt::print("{}", topology::describe(plan));
    return kExitDone;
  }
  return roles::run_training(*roles::open_session(config, plan, world));
}

int sft(const config::ParsedCommand& command, comm::Communicator& world) {
  return roles::run_supervised(
      *roles::open_session(command.config, all_ranks(world.size(), {false, false, true}), world));
}

}  // namespace setrl::commands
