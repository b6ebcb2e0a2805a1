#include "comm/failure.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/stack.h"
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

struct Report {
  std::string path;
  std::string rank;  // "rank 2 of 5 on host n3"
};

Report& report() {
  static Report instance;
  return instance;
}

void append(const std::string& text) {
  const int file = open(report().path.c_str(), O_WRONLY | O_APPEND | O_CREAT, 0644);
  if (file < 0) return;  // a full or missing disk may be the very cause
  [[maybe_unused]] const auto written = write(file, text.data(), text.size());
  close(file);
}

// The first to come creates the file.
void write_report(const std::string& what, const std::string& details) {
  if (report().path.empty()) return;
  const int file = open(report().path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (file >= 0) close(file);
  char now[32] = {};
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  std::strftime(now, sizeof now, "%F %T", localtime_r(&seconds, &parts));
  append(fmt::format("{}{} {}\n{}", file >= 0 ? "first cause\n" : "", now, what, details));
}

void report_fatal_signal(const char* signal_name, void* const* frames, int count) {
  std::string stack;
  for (const auto& frame : describe_frames(frames, count)) stack += "    " + frame + "\n";
  const std::string what = fmt::format("{} ({}) failed: {}", report().rank, current_place(), signal_name);
  std::fprintf(stderr, "setrl: %s\n%s", what.c_str(), stack.c_str());
  write_report(what, stack);
}

}  // namespace

void set_report_file(const std::string& path, int rank, int ranks) {
  report().path = path;
  report().rank = fmt::format("rank {} of {} on host {}", rank, ranks, host_name());
  on_fatal_signal(report_fatal_signal);
}

std::string current_place() {
  const std::lock_guard lock(place().mutex);
  std::string where = place().role;
  if (place().step >= 0) where += fmt::format("{}step {}", where.empty() ? "" : ", ", place().step);
  return where;
}

void set_place(const std::string& role, std::int64_t step) {
  const std::lock_guard lock(place().mutex);
  place().role = role;
  place().step = step;
}

std::string describe_failure(int rank, int ranks, const std::exception& cause) {
  std::string where = current_place();
  if (!where.empty()) where = " (" + where + ")";
  return fmt::format("rank {} of {} on host {}{} failed: {}", rank, ranks, host_name(), where, cause.what());
}

int exit_code_of(const std::exception& cause) {
  return dynamic_cast<const UserError*>(&cause) != nullptr ? kExitUserError : kExitInternalError;
}

void fail_job(MpiRuntime& runtime, const std::exception& cause) {
  const int rank = runtime.world().rank();
  const int code = exit_code_of(cause);
  write_report(describe_failure(rank, runtime.world().size(), cause), "");
  if (code == kExitUserError && rank == 0) {
    std::fprintf(stderr, "setrl: error: %s\n", cause.what());
  } else {
    if (code == kExitUserError) std::this_thread::sleep_for(std::chrono::seconds(1));
    std::fprintf(stderr, "setrl: %s\n", describe_failure(rank, runtime.world().size(), cause).c_str());
  }
  runtime.abort(code);
}

}  // namespace setrl::comm
