#include "roles/run_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/log.h"
#include "comm/failure.h"
#include "config/options.h"

namespace setrl::roles {

namespace {

namespace fs = std::filesystem;

// Keys that may change between a run and its continuation: how long it goes on, and how it is watched.
bool may_change(const std::string& line) {
  return line.rfind("run.steps:", 0) == 0 || line.rfind("eval.", 0) == 0;
}

void refuse_other_configuration(const Session& session, const ResumePoint& point) {
  const std::string stored = session.config.run.dir + "/.checkpoint-config.cfg";
  std::ofstream(stored) << point.info.config;
  const RunConfig before = config::load_file(stored);
  fs::remove(stored);
  std::string lines;
  for (const auto& line : config::differing_keys(before, session.config)) {
    if (!may_change(line)) lines += "\n  " + line;
  }
  if (!lines.empty()) {
    throw_user_error("the checkpoint '{}' was made with another configuration; start a new run.dir or undo:{}",
                     point.folder, lines);
  }
}

void publish_text(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  {
    std::ofstream file(temporary);
    file << text;
    if (!file.flush()) throw_user_error("cannot write '{}': is the disk full or the folder read-only?", temporary);
  }
  const int descriptor = open(temporary.c_str(), O_RDONLY);
  if (descriptor >= 0) {
    fsync(descriptor);
    close(descriptor);
  }
  fs::rename(temporary, path);
}

// Decided by the root alone, so that all ranks agree even where a file system shows them different states.
std::string choose_checkpoint(const Session& session) {
  const auto& run = session.config.run;
  if (run.resume == "auto") return store::find_newest_checkpoint(run.dir);
  if (run.resume != "never") return run.resume;
  if (fs::exists(run.dir + "/metrics.jsonl") || fs::exists(run.dir + "/checkpoints")) {
    throw_user_error("run.dir '{}' holds a run already; continue it with --run.resume=auto or give another run.dir",
                     run.dir);
  }
  return "";
}

void prepare_folders(const Session& session) {
  const std::string& dir = session.config.run.dir;
  std::error_code failure;
  for (const char* name : {"", "/trajectories", "/checkpoints", "/logs"}) {
    fs::create_directories(dir + name, failure);
    if (failure) throw_user_error("run.dir: cannot make the folder '{}{}': {}", dir, name, failure.message());
  }
  // The report of an earlier failure makes room for the next one's.
  fs::rename(dir + "/logs/why.txt", dir + "/logs/why.before.txt", failure);
}

std::string share_from_root(comm::Communicator& world, std::string text) {
  std::uint64_t length = text.size();
  world.broadcast(&length, sizeof length, 0);
  text.resize(length);
  if (length > 0) world.broadcast(text.data(), length, 0);
  return text;
}

}  // namespace

std::optional<ResumePoint> open_run_directory(const Session& session) {
  std::string folder;
  if (session.is_root()) {
    folder = choose_checkpoint(session);
    prepare_folders(session);
  }
  folder = share_from_root(session.world, folder);
  log::open_file(fmt::format("{}/logs/rank-{:04}.log", session.config.run.dir, session.world.rank()));
  comm::set_report_file(session.config.run.dir + "/logs/why.txt", session.world.rank(), session.world.size());
  std::optional<ResumePoint> point;
  if (!folder.empty()) {
    point = ResumePoint{folder, store::read_checkpoint_info(folder)};
    if (session.is_root()) refuse_other_configuration(session, *point);
    log::info("continuing from {} (step {})", folder, point->info.step);
  }
  if (session.is_root()) publish_text(session.config.run.dir + "/config.cfg", config::dump(session.config));
  return point;
}

}  // namespace setrl::roles
