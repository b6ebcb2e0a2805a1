// The program: finds the command, starts MPI, and turns every failure into one clear line and an exit code.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "comm/failure.h"
#include "comm/mpi_runtime.h"
#include "commands/commands.h"
#include "config/options.h"

namespace {

int dispatch(const setrl::config::ParsedCommand& parsed, setrl::comm::Communicator& world) {
  namespace commands = setrl::commands;
  const std::string& name = parsed.command;
  if (name == "train") return commands::train(parsed, world);
  if (name == "sft") return commands::sft(parsed, world);
  if (name == "eval") return commands::eval(parsed, world);
  if (name == "bench") return commands::bench(parsed, world);
  if (world.size() > 1) setrl::throw_user_error("setrl {} runs in one process: start it without mpirun", name);
  if (name == "ask") return commands::ask(parsed, world);
  if (name == "inspect") return commands::inspect(parsed.config);
  if (name == "report") return commands::report(parsed.config);
  SETRL_CHECK(name == "export" || name == "import", "no code for the command {}", name);
  return commands::export_model(parsed.config);
}

// Before MPI is up, the launcher's environment tells the rank: every rank meets the same bad option, one reports it.
bool is_first_process() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(name)) return std::string(rank) == "0";
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  setrl::keep_freed_memory();
  setrl::config::ParsedCommand parsed;
  try {
    parsed = setrl::config::parse_command_line({argv + 1, argv + argc});
    setrl::log::set_level(parsed.config.run.log_level);
  } catch (const setrl::UserError& failure) {
    if (is_first_process()) fmt::print(stderr, "setrl: error: {}\n", failure.what());
    return setrl::kExitUserError;
  }
  if (parsed.help) {
    std::fputs(setrl::config::help_text(parsed.command).c_str(), stdout);
    return setrl::kExitDone;
  }
  setrl::comm::MpiRuntime runtime(&argc, &argv, parsed.config.run.deadline_s);
  try {
    return dispatch(parsed, runtime.world());
  } catch (const std::exception& failure) {
    setrl::comm::fail_job(runtime, failure);
  }
}
