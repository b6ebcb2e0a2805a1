// The program: finds the command, starts MPI, and turns every failure into one clear line and an exit code.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "base/build_id.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "comm/failure.h"
#include "comm/handshake.h"
#include "comm/mpi_runtime.h"
#include "commands/commands.h"
#include "config/option_table.h"
#include "config/options.h"
#include "roles/signals.h"
#include "store/store_thread.h"

namespace {

int dispatch(const setrl::config::ParsedCommand& parsed, setrl::comm::MpiRuntime& runtime) {
  namespace commands = setrl::commands;
  const std::string& name = parsed.command;
  if (name == "train") return commands::train(parsed, runtime);
  if (name == "sft") return commands::sft(parsed, runtime);
  if (name == "eval") return commands::eval(parsed, runtime);
  if (name == "bench") return commands::bench(parsed, runtime);
  if (runtime.world().size() > 1)
    setrl::throw_user_error("setrl {} runs in one process: start it without mpirun", name);
  if (name == "ask") return commands::ask(parsed, runtime);
  if (name == "check") return commands::check(parsed.config);
  if (name == "plan") return commands::plan(parsed.config);
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

// What must be equal on all ranks: the program and every option but those that suit a single machine.
std::vector<setrl::comm::Fact> facts_of(const setrl::config::ParsedCommand& parsed) {
  std::vector<setrl::comm::Fact> facts = {{"the program's build", setrl::build_id()},
                                          {"the command", parsed.command + " " + parsed.subcommand}};
  for (const auto& option : setrl::config::option_table()) {
    const std::string& key = option.key;
    const bool local = key == "run.threads" || key == "run.log_level" || key == "rollout.max_batch" ||
                       key == "task.path" || key == "model.path";
    if (!local) facts.push_back({key, option.get(parsed.config)});
  }
  return facts;
}

// A shared file is written by a library that uses MPI itself, beside the thread that trains.
setrl::comm::Threads threads_of(const setrl::RunConfig& config) {
  return config.store.layout == "shared" ? setrl::comm::Threads::many : setrl::comm::Threads::one_at_a_time;
}

int run(int argc, char** argv) {
  setrl::keep_freed_memory();
  if (argc == 2 && std::string(argv[1]) == "--version") {
    fmt::print("setrl build {}\n", setrl::build_id());
    return setrl::kExitDone;
  }
  setrl::config::ParsedCommand parsed;
  try {
    parsed = setrl::config::parse_command_line({argv + 1, argv + argc});
    setrl::log::set_level(parsed.config.run.log_level);
  } catch (const setrl::UserError& failure) {
    if (is_first_process()) {
      fmt::print(stderr, "setrl: error: {}\n", failure.what());
    } else {
      // mpirun ends all ranks, whatever they are about to say, once one of them has ended.
      std::this_thread::sleep_for(std::chrono::seconds(3));
    }
    return setrl::kExitUserError;
  }
  if (parsed.help) {
    std::fputs(setrl::config::help_text(parsed.command).c_str(), stdout);
    return setrl::kExitDone;
  }
  // Before MPI, whose start takes its time: a job's signal may come early.
  if (parsed.command == "train" || parsed.command == "sft") setrl::roles::install_signal_handlers();
  setrl::store::initialise_hdf5();
  setrl::comm::MpiRuntime runtime(&argc, &argv, parsed.config.run.deadline_s, threads_of(parsed.config));
  try {
    runtime.post_sentry();
    setrl::comm::check_agreement(runtime.world(), facts_of(parsed));
    return dispatch(parsed, runtime);
  } catch (const std::exception& failure) {
    setrl::comm::fail_job(runtime, failure);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int code = run(argc, argv);
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0) && code == setrl::kExitDone) {
    std::fputs("setrl: error: standard output cannot be written\n", stderr);
    code = setrl::kExitUserError;
  }
  std::fflush(nullptr);
  // Everything of the program's own has ended. LibTorch would go on to take its tables of operators apart, for a third
  // of the time of a short command.
  std::_Exit(code);
}
