// Starts and ends MPI in the ways that lifetime_check.py asks for.
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "comm/failure.h"
#include "comm/mpi_runtime.h"

namespace {

using setrl::BugError;
using setrl::UserError;
using setrl::comm::Communicator;
using setrl::comm::MpiRuntime;

void say(const std::string& text) {
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

// Handles that live longer than MPI do nothing in their destructors and throw in their verbs.
int outlive(int argc, char** argv) {
  std::unique_ptr<Communicator> kept;
  {
    MpiRuntime runtime(&argc, &argv, 10);
    kept = runtime.world().split(0, "kept");
    kept->barrier();
  }
  try {
    kept->barrier();
  } catch (const BugError& error) {
    say(error.what());
  }
  try {
    kept->send((kept->rank() + 1) % kept->size(), 1, {1});
  } catch (const BugError& error) {
    say(error.what());
  }
  return 0;
}

// The runtime goes while an exception flies on rank 1: it must not wait in MPI_Finalize for the others.
int unwind(int argc, char** argv) {
  try {
    MpiRuntime runtime(&argc, &argv, 30);
    const auto part = runtime.world().split(0, "part");
    if (part->rank() == 1) throw std::runtime_error("thrown");
    part->receive(1, 1);
  } catch (const std::runtime_error& error) {
    say(std::string("unwound: ") + error.what());
    return 1;
  }
  return 0;
}

int fail(int argc, char** argv, bool user_error) {
  MpiRuntime runtime(&argc, &argv, 30);
  try {
    setrl::comm::set_place("learner", 12);
    if (user_error) throw UserError("no file named x.csv");
    if (runtime.world().rank() == 1) throw BugError("weights are not finite");
    runtime.world().barrier();
  } catch (const std::exception& cause) {
    setrl::comm::fail_job(runtime, cause);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argv[1];
  if (mode == "outlives") return outlive(argc, argv);
  if (mode == "unwinds") return unwind(argc, argv);
  if (mode == "fails" || mode == "user_error") return fail(argc, argv, mode == "user_error");
  MpiRuntime runtime(&argc, &argv, mode == "undelivered" ? 1 : 30);
  if (mode == "undelivered" && runtime.world().rank() == 0)
    runtime.world().send(1, 1, std::vector<std::uint8_t>(1 << 20));
  if (mode == "ends_well") {
    // Still on its way when its communicator goes.
    const auto part = runtime.world().split(0, "part");
    if (part->rank() == 0) part->send(1, 1, std::vector<std::uint8_t>(1 << 20));
    if (part->rank() == 1) say("received " + std::to_string(part->receive(0, 1).bytes.size()));
  }
  say("rank " + std::to_string(runtime.world().rank()) + " of " + std::to_string(runtime.world().size()) + " ends");
  return 0;
}
