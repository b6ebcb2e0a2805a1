// The collective end of a job: one failed rank says what happened and ends all ranks, so nobody waits for it.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "comm/mpi_runtime.h"

namespace setrl::comm {

// Where this rank is, for the message of fail_job. The role loops keep it up to date. Step < 0: outside of a step.
void set_place(const std::string& role, std::int64_t step);

// "learner, step 12", as far as it is known.
std::string current_place();

// From here on the first rank of the job that fails writes there what happened (the run directory's logs/why.txt), and
// ranks that fail later add a line. Also on signals such as SIGSEGV, with the stack. The folder must exist; an existing
// file is taken for that of an earlier failure and left alone, so whoever starts a run moves it away first.
void set_report_file(const std::string& path, int rank, int ranks);

// "rank 2 of 5 on host node7 (learner, step 12) failed: CAUSE". Without role and step where they are not known.
std::string describe_failure(int rank, int ranks, const std::exception& cause);

// The exit code of the job: kExitUserError for a UserError, else kExitInternalError.
int exit_code_of(const std::exception& cause);

// Prints the failure to standard error and ends the whole job with exit_code_of(cause). A UserError is the same on all
// ranks as a rule: rank 0 prints it, as one plain line, and the others only where rank 0 does not within a moment.
// To be called in main's catch block, with the runtime still alive. Never returns.
[[noreturn]] void fail_job(MpiRuntime& runtime, const std::exception& cause);

}  // namespace setrl::comm
