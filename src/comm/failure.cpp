#include "comm/failure.h"

#include <chrono>
#include <cstdio>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/system.h"

namespace setrl::comm {

namespace {

struct Place {
  std::mutex mutex;
  std::string role;
  std::int64_t step = -1;
};

Place& place() {
  static Place instance;
  return instance;
}

}  // namespace

void set_place(const std::string& role, std::int64_t step) {
  const std::lock_guard lock(place().mutex);
  place().role = role;
  place().step = step;
}

std::string describe_failure(int rank, int ranks, const std::exception& cause) {
  const std::lock_guard lock(place().mutex);
  std::string where = place().role;
  if (place().step >= 0) where += fmt::format("{}step {}", where.empty() ? "" : ", ", place().step);
  if (!where.empty()) where = " (" + where + ")";
  return fmt::format("rank {} of {} on host {}{} failed: {}", rank, ranks, host_name(), where, cause.what());
}

int exit_code_of(const std::exception& cause) {
  return dynamic_cast<const UserError*>(&cause) != nullptr ? kExitUserError : kExitInternalError;
}

void fail_job(MpiRuntime& runtime, const std::exception& cause) {
  const int rank = runtime.world().rank();
  const int code = exit_code_of(cause);
  if (code == kExitUserError && rank == 0) {
    std::fprintf(stderr, "setrl: error: %s\n", cause.what());
  } else {
    if (code == kExitUserError) std::this_thread::sleep_for(std::chrono::seconds(1));
    std::fprintf(stderr, "setrl: %s\n", describe_failure(rank, runtime.world().size(), cause).c_str());
  }
  runtime.abort(code);
}

}  // namespace setrl::comm
