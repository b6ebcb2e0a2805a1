#include "store/check.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "store/check_parts.h"
#include "store/checkpoint_folders.h"
#include "store/durable_file.h"
#include "store/manifest.h"
#include "store/trajectory_file.h"

namespace setrl::store {

namespace fs = std::filesystem;

std::optional<CheckpointInfo> check_folder(const std::string& folder, CheckReport& report) {
  Manifest manifest;
  if (!passes(report, [&] { manifest = read_manifest(folder); })) return std::nullopt;
  bool good = true;
  std::set<std::string> named = {kManifestName};
  for (const auto& entry : manifest.files) {
    named.insert(entry.name);
    good = passes(report, [&] { verify_entry(folder, entry, true); }) && good;
  }
  const auto step = step_of_folder(folder);
  if (step && *step != manifest.step) {
    report.problems.push_back(fmt::format("{}: is the checkpoint of step {}: mixed up", folder, manifest.step));
    good = false;
  }
  for (const auto& name : sorted_names(folder)) {
    if (named.count(name) == 0) {
      report.problems.push_back(fmt::format("{}/{}: does not belong to the checkpoint", folder, name));
    }
  }
  if (!good) return std::nullopt;
  std::optional<CheckpointInfo> info;
  good = passes(report, [&] { info = CheckpointReader(folder).info(); });
  if (good && info->step != manifest.step) {
    report.problems.push_back(fmt::format("{}/{}: is of step {}: mixed up", folder, kIndexName, info->step));
    good = false;
  }
  return good ? info : std::nullopt;
}

std::vector<std::int64_t> check_metrics(const std::string& path, CheckReport& report) {
  std::vector<std::int64_t> steps;
  Bytes bytes;
  if (!passes(report, [&] { bytes = read_whole_file(path); })) return steps;
  int number = 0;
  for (auto begin = bytes.begin(); begin != bytes.end();) {
    ++number;
    const auto end = std::find(begin, bytes.end(), static_cast<std::uint8_t>('\n'));
    if (end == bytes.end()) {
      report.notes.push_back(fmt::format("{}: line {} is cut off; a resume removes it", path, number));
      break;
    }
    const auto line = nlohmann::json::parse(begin, end, nullptr, false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) {
      report.problems.push_back(fmt::format("{}: line {} is damaged", path, number));
    } else {
      const auto step = line["step"].get<std::int64_t>();
      if (!steps.empty() && step != steps.back() + 1) {
        report.problems.push_back(
            fmt::format("{}: line {} is of step {}, after step {}", path, number, step, steps.back()));
      }
      steps.push_back(step);
    }
    begin = end + 1;
  }
  return steps;
}

void check_checkpoint(const std::string& folder, CheckReport& report) {
  if (check_folder(folder, report)) report.usable.push_back("checkpoint " + folder);
}

void check_file(const std::string& path, CheckReport& report) {
  const fs::path file = fs::absolute(path);
  const std::string name = file.filename().string();
  if (ends_with(name, ".jsonl")) {
    check_metrics(path, report);
    return;
  }
  const std::string folder = file.parent_path().string();
  if (fs::exists(file.parent_path() / kManifestName)) {
    passes(report, [&] {
      const Manifest manifest = read_manifest(folder);
      if (name == kManifestName) return;
      const auto entry = std::find_if(manifest.files.begin(), manifest.files.end(),
                                      [&](const ManifestEntry& each) { return each.name == name; });
      if (entry == manifest.files.end()) throw_user_error("{}: does not belong to the checkpoint", path);
      verify_entry(folder, *entry, true);
    });
    return;
  }
  passes(report, [&] { read_trajectory(path); });
}

}  // namespace setrl::store
