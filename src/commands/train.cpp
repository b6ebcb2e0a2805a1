#include <cstdio>

#include "base/error.h"
#include "commands/commands.h"
#include "roles/session.h"
#include "roles/trainer.h"
#include "store/checkpoint_layout.h"

namespace setrl::commands {

namespace {

topology::Plan all_learn(int world_size) {
  return topology::plan_of(std::vector<topology::RankPlan>(static_cast<std::size_t>(world_size), {false, false, true}),
                           1);
}

}  // namespace

int train(const config::ParsedCommand& command, comm::MpiRuntime& runtime) {
  const RunConfig& config = command.config;
  comm::Communicator& world = runtime.world();
  const auto plan = config.learn.replay.empty()
                        ? topology::make_plan(config.topology, world.size(), config.rollout.tensor_parallel)
                        : all_learn(world.size());
  if (command.dry_run) {
    if (world.rank() == 0) fmt::print("{}", topology::describe(plan));
    return kExitDone;
  }
  store::check_layout(store::layout_of(config.store.layout));
  return roles::run_training(*roles::open_session(config, plan, runtime));
}

int sft(const config::ParsedCommand& command, comm::MpiRuntime& runtime) {
  store::check_layout(store::layout_of(command.config.store.layout));
  return roles::run_supervised(*roles::open_session(command.config, all_learn(runtime.world().size()), runtime));
}

}  // namespace setrl::commands
