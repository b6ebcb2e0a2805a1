#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "commands/commands.h"
#include "store/check.h"

namespace setrl::commands {

namespace {

namespace fs = std::filesystem;

// What config.cfg of the run says of its files.
store::RunExpectation expectation_of(const std::string& run_dir, store::CheckReport& report) {
  store::RunExpectation expectation;
  const std::string path = run_dir + "/config.cfg";
  if (!fs::exists(path)) {
    report.problems.push_back(path + ": is missing");
    return expectation;
  }
  try {
    const RunConfig config = config::load_file(path);
    // A cold start, too, has a directory; its config.cfg does not tell, its trajectories do.
    expectation.config_hashes = {config::config_hash(config)};
    expectation.trajectories = fs::exists(run_dir + "/trajectories") && !fs::is_empty(run_dir + "/trajectories") &&
                               config.store.trajectories && config.learn.replay.empty();
    expectation.groups_per_step = config.task.prompts_per_step;
  } catch (const UserError& error) {
    report.problems.push_back(error.what());
  }
  return expectation;
}

void print(const char* title, const std::vector<std::string>& lines) {
  for (const auto& line : lines) fmt::print("{:<9}{}\n", title, line);
}

}  // namespace

int check(const RunConfig& config) {
  const std::string& path = config.check.path;
  if (path.empty()) throw_user_error("check: give a run directory, a checkpoint folder or a file");
  if (!fs::exists(path)) throw_user_error("check: there is no '{}'", path);
  store::CheckReport report;
  if (!fs::is_directory(path)) {
    store::check_file(path, report);
  } else if (fs::exists(fs::path(path) / "checkpoints") || fs::exists(fs::path(path) / "metrics.jsonl")) {
    store::check_run(path, expectation_of(path, report), report);
  } else {
    store::check_checkpoint(path, report);
  }
  print("usable:", report.usable);
  print("note:", report.notes);
  print("problem:", report.problems);
  fmt::print("{}: {}\n", path,
             report.clean()
                 ? "clean"
                 : fmt::format("{} problem{}", report.problems.size(), report.problems.size() == 1 ? "" : "s"));
  return report.clean() ? kExitDone : kExitUserError;
}

}  // namespace setrl::commands
