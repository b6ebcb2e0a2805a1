#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "store/check_parts.h"
#include "store/checkpoint_folders.h"
#include "store/crc32c.h"
#include "store/durable_file.h"
#include "store/manifest.h"
#include "store/trajectory_file.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// One check of a run directory.
class RunCheck {
 public:
  RunCheck(const std::string& run_dir, const RunExpectation& expectation, CheckReport& report)
      : home_(run_dir),
        expectation_(expectation),
        report_(report),
        known_(expectation.config_hashes.begin(), expectation.config_hashes.end()) {}

  void run() {
    check_checkpoints();
    check_lines();
    check_trajectories();
    check_evaluations();
  }

 private:
  std::string path(const std::string& name) const { return (fs::path(home_) / name).string(); }
  void problem(std::string text) { report_.problems.push_back(std::move(text)); }
  void note(std::string text) { report_.notes.push_back(std::move(text)); }
  std::int64_t newest_step() const { return whole_.empty() ? 0 : whole_.front().info.step; }

  void check_checkpoints();
  void check_folder_named(const std::string& name);
  void learn_hashes();
  void check_lines();
  void check_trajectories();
  bool check_step(std::int64_t step);
  void check_evaluations();
  void expect_hash(const std::string& file, const std::string& hash);

  struct Whole {
    std::string folder;
    CheckpointInfo info;
    json extra;
  };

  const std::string home_;
  const RunExpectation& expectation_;
  CheckReport& report_;
  std::set<std::string> known_;  // hashes of configurations
  std::vector<Whole> whole_;     // newest first
  std::vector<std::string> unfinished_;
  std::vector<std::int64_t> lines_;
};

// "1 .. 4, 6": ascending numbers.
std::string ranges(const std::vector<std::int64_t>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t j = i;
    while (j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1) ++j;
    text += (text.empty() ? "" : ", ") + std::to_string(numbers[i]);
    if (j > i) text += (j == i + 1 ? ", " : " .. ") + std::to_string(numbers[j]);
    i = j + 1;
  }
  return text;
}

// The hashes that a whole checkpoint says its run had.
std::vector<std::string> hashes_of(const CheckpointInfo& info, const json& extra) {
  std::vector<std::string> hashes = {info.config_hash};
  if (!extra.contains("config_hashes") || !extra["config_hashes"].is_array()) return hashes;
  for (const auto& hash : extra["config_hashes"]) {
    if (hash.is_string()) hashes.push_back(hash.get<std::string>());
  }
  return hashes;
}

std::int64_t integer_of(const json& extra, const char* key, std::int64_t otherwise) {
  return extra.contains(key) && extra[key].is_number_integer() ? extra[key].get<std::int64_t>() : otherwise;
}

void RunCheck::expect_hash(const std::string& file, const std::string& hash) {
  if (known_.empty() || known_.count(hash) != 0) return;
  problem(fmt::format("{}: was written with the configuration {}, which this run never had: mixed up", file, hash));
}

void RunCheck::check_folder_named(const std::string& name) {
  const std::string folder = path("checkpoints/" + name);
  if (name == "latest") {
    if (!fs::exists(folder)) note(folder + ": points to nothing; a resume does not use it");
  } else if (ends_with(name, ".tmp") || name.rfind(".shared-", 0) == 0) {
    note(folder + ": left by an interrupted save; the next save removes it");
  } else if (name.find(".damaged") != std::string::npos) {
    problem(folder + ": damaged, and set aside by a resume");
  } else if (!step_of_folder(name)) {
    problem(folder + ": is no checkpoint");
  } else if (!fs::exists(fs::path(folder) / kManifestName)) {
    unfinished_.push_back(folder);
  } else if (auto info = check_folder(folder, report_)) {
    json extra = json::parse(info->extra, nullptr, false);
    if (!extra.is_object()) extra = json::object();
    whole_.push_back({folder, std::move(*info), std::move(extra)});
  }
}

void RunCheck::check_checkpoints() {
  for (const auto& name : sorted_names(path("checkpoints"))) check_folder_named(name);
  std::stable_sort(whole_.begin(), whole_.end(),
                   [](const Whole& a, const Whole& b) { return a.info.step > b.info.step; });
  for (const auto& folder : unfinished_) {
    // A later save would have cleared it away.
    if (*step_of_folder(folder) < newest_step()) {
      problem(folder + ": its DONE is missing");
    } else {
      note(folder + ": has no DONE, so it is not used: its save was interrupted");
    }
  }
  learn_hashes();
  for (const auto& checkpoint : whole_) {
    expect_hash(checkpoint.folder, checkpoint.info.config_hash);
    report_.usable.push_back(fmt::format("checkpoint of step {}: {}", checkpoint.info.step, checkpoint.folder));
  }
}

// What a checkpoint knows of the past is believed where it knows the run's configuration.
void RunCheck::learn_hashes() {
  const std::set<std::string> given = known_;
  for (const auto& checkpoint : whole_) {
    const auto hashes = hashes_of(checkpoint.info, checkpoint.extra);
    const bool ours =
        std::any_of(hashes.begin(), hashes.end(), [&](const auto& hash) { return given.count(hash) != 0; });
    if (given.empty() || ours) known_.insert(hashes.begin(), hashes.end());
  }
}

void RunCheck::check_lines() {
  const std::string file = path("metrics.jsonl");
  if (!fs::exists(file)) {
    problem(file + ": is missing");
    return;
  }
  lines_ = check_metrics(file, report_);
  if (!lines_.empty()) report_.usable.push_back("metrics of steps " + ranges(lines_));
  if (whole_.empty()) return;
  // The newest checkpoint knows the file as it was then.
  const Whole& newest = whole_.front();
  const std::int64_t bytes = integer_of(newest.extra, "metrics_bytes", 0);
  if (bytes <= 0) return;
  passes(report_, [&] {
    const Bytes content = read_whole_file(file);
    if (static_cast<std::int64_t>(content.size()) < bytes) {
      throw_user_error("{}: lines up to step {} are missing: it had {} bytes when {} was saved", file, newest.info.step,
                       bytes, newest.folder);
    }
    const auto checksum = crc32c(content.data(), static_cast<std::size_t>(bytes));
    if (static_cast<std::int64_t>(checksum) != integer_of(newest.extra, "metrics_crc32c", -1)) {
      throw_user_error("{}: was changed since {} was saved", file, newest.folder);
    }
  });
}

// All parts of a step. True where they are whole and none is missing.
bool RunCheck::check_step(std::int64_t step) {
  bool good = true;
  std::set<std::int64_t> indices;
  std::size_t groups = 0;
  for (const auto& path : trajectory_parts(home_, step)) {
    good = passes(report_,
                  [&] {
                    const Trajectory trajectory = read_trajectory(path);
                    if (trajectory.info.step != step) {
                      throw_user_error("{}: is the trajectory of step {}: mixed up", path, trajectory.info.step);
                    }
                    expect_hash(path, trajectory.info.config_hash);
                    for (const auto& stored : trajectory.groups) indices.insert(stored.group.index);
                    groups += trajectory.groups.size();
                  }) &&
           good;
  }
  if (!good) return false;
  // The ranks' parts together hold every index once.
  const auto count = static_cast<std::int64_t>(indices.size());
  const std::int64_t expected = std::max(indices.empty() ? 0 : *indices.rbegin() + 1, expectation_.groups_per_step);
  if (groups != indices.size()) {
    problem(fmt::format("{}: two files hold the same groups of step {}: mixed up", path("trajectories"), step));
    return false;
  }
  if (count < expected) {
    const std::string what = fmt::format("{}: {} of {} groups of step {} are missing", path("trajectories"),
                                         expected - count, expected, step);
    if (step <= newest_step()) {
      problem(what + ": a part of it is lost");
    } else {
      note(what + "; a resume writes it again");
    }
    return false;
  }
  return true;
}

void RunCheck::check_trajectories() {
  std::vector<std::int64_t> good, lost, missing;
  const auto found = trajectory_steps(home_);
  // What follows the newest checkpoint is written again by a resume.
  for (const auto step : found) {
    if (check_step(step)) good.push_back(step);
  }
  for (const auto step : lines_) {
    if (std::binary_search(found.begin(), found.end(), step)) continue;
    (step <= newest_step() ? lost : missing).push_back(step);
  }
  if (expectation_.trajectories) {
    if (!lost.empty()) problem(path("trajectories") + ": no file of step " + ranges(lost));
    if (!missing.empty()) note(path("trajectories") + ": no file of step " + ranges(missing) + "; a resume writes it");
  }
  if (!good.empty()) report_.usable.push_back("trajectories of steps " + ranges(good));
  for (const auto& name : sorted_names(path("trajectories"))) {
    if (ends_with(name, ".tmp")) note(path("trajectories/" + name) + ": left by an interrupted write");
  }
}

void RunCheck::check_evaluations() {
  for (const auto& name : sorted_names(home_)) {
    if (name.rfind("eval", 0) != 0) continue;
    if (ends_with(name, ".h5")) passes(report_, [&] { read_trajectory(path(name)); });
    if (!ends_with(name, ".json")) continue;
    passes(report_, [&] {
      const Bytes text = read_whole_file(path(name));
      if (json::parse(text, nullptr, false).is_discarded()) throw_user_error("{}: is no JSON: damaged", path(name));
    });
  }
}

}  // namespace

void check_run(const std::string& run_dir, const RunExpectation& expectation, CheckReport& report) {
  RunCheck(run_dir, expectation, report).run();
}

}  // namespace setrl::store
