#include "roles/run_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "comm/failure.h"
#include "config/options.h"
#include "store/checkpoint_folders.h"
#include "store/trajectory_file.h"

namespace setrl::roles {

namespace {

namespace fs = std::filesystem;

// Keys that may change between a run and its continuation: how long it goes on, and how it is watched.
bool may_change(const std::string& line) {
  return line.rfind("run.steps:", 0) == 0 || line.rfind("eval.", 0) == 0;
}

nlohmann::json parsed(const std::string& text) {
  auto value = nlohmann::json::parse(text, nullptr, false);
  return value.is_object() ? value : nlohmann::json::object();
}

// A checkpoint of a cold start has other moments and steps than one of reinforcement, and the other way round.
void refuse_other_kind(const ResumePoint& point, const std::string& kind) {
  const auto extra = parsed(point.info.extra);
  if (!extra.contains("kind") || extra.at("kind") == kind) return;
  throw_user_error("the checkpoint '{}' was made by setrl {}; begin with its weights by --model.path={}", point.folder,
                   extra.at("kind").get<std::string>(), point.folder);
}

void refuse_other_model(const Session& session, const ResumePoint& point) {
  const auto before = parsed(point.info.model_config);
  const auto now = parsed(model::to_hf_config(session.policy.weights->spec(), "float32"));
  std::string lines;
  for (const auto& [key, value] : now.items()) {
    const auto old = before.contains(key) ? before.at(key) : nlohmann::json();
    if (old != value) lines += fmt::format("\n  {}: {} -> {}", key, old.dump(), value.dump());
  }
  if (!lines.empty()) {
    throw_user_error("the checkpoint '{}' is of another model than model.path '{}':{}", point.folder,
                     session.config.model.path, lines);
  }
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

struct Choice {
  std::vector<std::string> folders;  // one after the other is tried
  bool of_this_run = true;
};

bool holds_run(const std::string& dir) {
  const fs::path checkpoints = fs::path(dir) / "checkpoints";
  return fs::exists(fs::path(dir) / "metrics.jsonl") || (fs::exists(checkpoints) && !fs::is_empty(checkpoints));
}

Choice newest_of(const std::string& run_dir) {
  Choice choice{store::find_checkpoints(run_dir), true};
  if (choice.folders.empty() && !store::damaged_checkpoints(run_dir).empty()) {
    throw_user_error("'{}' holds only damaged checkpoints (see setrl check); to start anew give another run.dir",
                     run_dir);
  }
  return choice;
}

// Decided by the root alone, so that all ranks agree even where a file system shows them different states.
Choice choose_checkpoints(const Session& session) {
  const auto& run = session.config.run;
  if (run.resume == "auto") return newest_of(run.dir);
  if (run.resume == "never") {
    if (!holds_run(run.dir)) return {};
    throw_user_error("run.dir '{}' holds a run already; continue it with --run.resume=auto or give another run.dir",
                     run.dir);
  }
  const fs::path path = run.resume;
  if (!fs::is_directory(path)) throw_user_error("run.resume: there is no folder '{}'", run.resume);
  Choice choice;
  fs::path home = path;  // the run directory
  if (fs::is_directory(path / "checkpoints")) {
    choice = newest_of(path.string());
    if (choice.folders.empty()) throw_user_error("run.resume: '{}' holds no whole checkpoint", run.resume);
  } else {
    choice.folders = {fs::canonical(path).string()};
    home = fs::canonical(path).parent_path().parent_path();
  }
  choice.of_this_run = fs::exists(run.dir) && fs::equivalent(home, run.dir);
  if (!choice.of_this_run && holds_run(run.dir)) {
    throw_user_error(
        "run.resume names a checkpoint of another run, '{}', but run.dir '{}' holds a run already; give a new run.dir",
        home.string(), run.dir);
  }
  return choice;
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

void say_replica(const Session& session) {
  const topology::Plan& plan = session.plan;
  const auto mine = plan.part_of(session.world.rank());
  if (!session.groups.replica || mine.replica < 0) return;
  log::info("rollout replica {} of {}: part {} of {}{}", mine.replica + 1, plan.replicas(), mine.part + 1,
            plan.tensor_parallel,
            mine.part == 0
                ? ", its lead"
                : fmt::format("; its lead is rank {}", plan.leads()[static_cast<std::size_t>(mine.replica)]));
}

std::string share_from_root(comm::Communicator& world, std::string text) {
  std::uint64_t length = text.size();
  world.broadcast(&length, sizeof length, 0);
  text.resize(length);
  if (length > 0) world.broadcast(text.data(), length, 0);
  return text;
}

}  // namespace

namespace {

// On every rank the same: whether all could load it. `problem` tells what the first one met that could not.
bool all_loaded(const Session& session, const ResumePoint& point, const std::function<void(const ResumePoint&)>& load,
                std::string& problem) {
  std::string mine;
  try {
    load(point);
  } catch (const UserError& error) {
    mine = error.what();
  }
  problem.clear();
  for (const auto& text : comm::all_gather_bytes(session.world, {mine.begin(), mine.end()})) {
    if (problem.empty()) problem.assign(text.begin(), text.end());
  }
  return problem.empty();
}

// The part of the run's files that the continuation writes again.
void forget_what_follows(const Session& session, const ResumePoint& point) {
  if (!session.is_root() || !point.of_this_run) return;
  store::drop_checkpoints_after(session.config.run.dir, point.info.step);
  store::drop_trajectories_after(session.config.run.dir, point.info.step);
}

std::optional<ResumePoint> load_first_good(const Session& session, const Choice& choice, const std::string& kind,
                                           const std::function<void(const ResumePoint&)>& load) {
  std::string problem;
  for (const auto& folder : choice.folders) {
    ResumePoint point{folder, store::read_checkpoint_info(folder), choice.of_this_run};
    if (session.is_root()) {
      refuse_other_kind(point, kind);
      refuse_other_model(session, point);
      refuse_other_configuration(session, point);
    }
    if (all_loaded(session, point, load, problem)) {
      log::info("continuing from {} (step {})", folder, point.info.step);
      forget_what_follows(session, point);
      return point;
    }
    if (session.is_root() && choice.folders.size() > 1) {
      log::warning("checkpoint passed over: {}", problem);
      if (choice.of_this_run) store::set_aside(folder);
    }
  }
  if (!choice.folders.empty()) throw_user_error("no checkpoint can be loaded: {}", problem);
  return std::nullopt;
}

}  // namespace

std::optional<ResumePoint> open_run_directory(const Session& session, const std::string& kind,
                                              const std::function<void(const ResumePoint&)>& load) {
  Choice choice;
  std::string folders;
  if (session.is_root()) {
    choice = choose_checkpoints(session);
    prepare_folders(session);
    for (const auto& folder : choice.folders) folders += folder + "\n";
    folders += choice.of_this_run ? "this" : "other";
  }
  folders = share_from_root(session.world, folders);
  choice.folders.clear();
  std::istringstream lines(folders);
  for (std::string line; std::getline(lines, line);) choice.folders.push_back(line);
  choice.of_this_run = choice.folders.back() == "this";
  choice.folders.pop_back();

  log::open_file(fmt::format("{}/logs/rank-{:04}.log", session.config.run.dir, session.world.rank()));
  say_replica(session);
  comm::set_report_file(session.config.run.dir + "/logs/why.txt", session.world.rank(), session.world.size());
  auto point = load_first_good(session, choice, kind, load);
  if (session.is_root()) publish_text(session.config.run.dir + "/config.cfg", config::dump(session.config));
  return point;
}

std::string settle_metrics(store::MetricsFile& metrics) {
  metrics.sync();
  const auto print = metrics.fingerprint();
  return nlohmann::json{{"metrics_bytes", print.bytes}, {"metrics_crc32c", print.crc32c}}.dump();
}

}  // namespace setrl::roles
