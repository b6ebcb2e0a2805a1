// One function a command, each in its own file. They return the exit code and throw UserError for what the user can
// mend.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "comm/mpi_runtime.h"
#include "config/options.h"

namespace setrl::commands {

// Under mpirun every rank calls these with the same configuration.
int train(const config::ParsedCommand& command, comm::MpiRuntime& runtime);
int sft(const config::ParsedCommand& command, comm::MpiRuntime& runtime);
int eval(const config::ParsedCommand& command, comm::MpiRuntime& runtime);

// One process.
int ask(const config::ParsedCommand& command, comm::MpiRuntime& runtime);
int plan(const RunConfig& config);
int inspect(const RunConfig& config);
int report(const RunConfig& config);
int check(const RunConfig& config);
int export_model(const RunConfig& config);
int bench(const config::ParsedCommand& command, comm::MpiRuntime& runtime);

// Of bench: decodes, parses and grades completions made from the task's gold sets, through the roles' own code. With
// several ranks the first verifies what the others send. "completions_per_s_per_core" is by the verifier's own time,
// "completions_per_s" by the clock from the first message to the last verdict.
int bench_verify(const RunConfig& config, comm::MpiRuntime& runtime);

// Of bench: pushes a model's weights by sync/'s schedule from some ranks to the others, and compares the time with what
// the same links and memory do at their best.
int bench_sync(const RunConfig& config, comm::MpiRuntime& runtime);

// Of bench: writes and reads a checkpoint as large as the model's learner state, and a step's trajectory, in
// run.dir/bench-store. Every rank is a learner.
int bench_store(const RunConfig& config, comm::Communicator& world);

}  // namespace setrl::commands
