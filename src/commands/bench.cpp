#include "learn/bench.h"
#include "base/error.h"
#include "commands/commands.h"
#include "rollout/bench.h"

namespace setrl::commands {

int bench(const config::ParsedCommand& command, comm::Communicator& world) {
  const std::string line = command.subcommand == "rollout" ? rollout::bench_rollout(command.config)
                                                           : learn::bench_learn(command.config, world);
  if (world.rank() == 0) fmt::print("{}\n", line);
  return kExitDone;
}

}  // namespace setrl::commands
