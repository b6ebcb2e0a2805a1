#include "store/checkpoint_folders.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "store/checkpoint.h"
#include "store/durable_file.h"
#include "store/manifest.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;
const std::string kTemporary = ".tmp";
const std::string kReplaced = ".replaced";

// Folders that bear a checkpoint's name, whole or not; newest first, a replaced one behind its replacement.
std::vector<std::string> candidates(const std::string& run_dir) {
  const fs::path all = fs::path(run_dir) / "checkpoints";
  std::vector<std::pair<std::int64_t, std::string>> found;
  for (const auto& name : sorted_names(all.string())) {
    const auto step = step_of_folder(name);
    if (step && fs::is_directory(all / name)) found.emplace_back(*step, (all / name).string());
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> folders;
  for (auto& [step, folder] : found) folders.push_back(std::move(folder));
  return folders;
}

}  // namespace

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::vector<std::string> sorted_names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

CheckpointFolders::CheckpointFolders(const std::string& run_dir, std::int64_t step)
    : all((fs::path(run_dir) / "checkpoints").string()),
      name(fmt::format("step-{:06}", step)),
      whole((fs::path(all) / name).string()),
      temporary(whole + kTemporary),
      replaced(whole + kReplaced) {}

std::optional<std::int64_t> step_of_folder(const std::string& folder) {
  std::string name = fs::path(folder).filename().string();
  if (ends_with(name, kReplaced)) name.resize(name.size() - kReplaced.size());
  const std::string prefix = "step-";
  if (name.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
  const std::string digits = name.substr(prefix.size());
  const bool number = !digits.empty() && digits.size() <= 18 &&
                      std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  if (!number) return std::nullopt;
  return std::stoll(digits);
}

void remove_folder(const std::string& folder) {
  std::string doomed = folder;
  if (!ends_with(folder, kTemporary)) {
    doomed += ".removed" + kTemporary;
    rename_path(folder, doomed);
  }
  std::error_code error;
  fs::remove_all(doomed, error);
  if (error) throw_user_error("{}: cannot remove: {}", doomed, error.message());
}

void prepare_temporary(const CheckpointFolders& folders) {
  make_directories(folders.all);
  for (const auto& name : sorted_names(folders.all)) {
    if (name.compare(0, 5, "step-") != 0 || !ends_with(name, kTemporary)) continue;
    try {
      remove_folder((fs::path(folders.all) / name).string());
    } catch (const UserError& error) {
      // A rank of an abandoned save may still be leaving its folder; but this save's own must be empty.
      if (name == folders.name + kTemporary) throw;
      log::warning("{}", error.what());
    }
  }
  make_directories(folders.temporary);
}

void publish_temporary(const CheckpointFolders& folders, const std::string& manifest_text) {
  sync_directory(folders.temporary);
  // A whole checkpoint of the same step stays under another name, where find_checkpoints sees it, until this is whole.
  const bool replaces = fs::exists(folders.whole);
  if (replaces) {
    if (!quick_problem(folders.whole).empty()) {
      remove_folder(folders.whole);
    } else {
      if (fs::exists(folders.replaced)) remove_folder(folders.replaced);
      rename_path(folders.whole, folders.replaced);
    }
  }
  try {
    rename_path(folders.temporary, folders.whole);
    sync_directory(folders.all);
    const Bytes text(manifest_text.begin(), manifest_text.end());
    publish_file((fs::path(folders.whole) / kManifestName).string(), text);
  } catch (...) {
    if (fs::exists(folders.whole)) remove_folder(folders.whole);
    if (fs::exists(folders.replaced)) rename_path(folders.replaced, folders.whole);
    throw;
  }
}

void point_latest(const CheckpointFolders& folders) {
  const fs::path link = fs::path(folders.all) / "latest";
  const fs::path temporary = fs::path(folders.all) / "latest.tmp";
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_directory_symlink(folders.name, temporary, error);
  if (!error) fs::rename(temporary, link, error);
  if (error) log::warning("{}: cannot point it to {}: {}", link.string(), folders.name, error.message());
}

void prune(const CheckpointFolders& folders, std::int64_t step, const Retention& retention) {
  int whole = 1;  // the one just written
  for (const auto& folder : candidates(fs::path(folders.all).parent_path().string())) {
    if (folder == folders.whole) continue;
    const std::int64_t found = *step_of_folder(folder);
    const bool is_whole = quick_problem(folder).empty();
    if (found > step) {
      log::warning("{}: removed; the run was resumed before that step", folder);
    } else if (is_whole && found < step && retention.keep_every > 0 && found % retention.keep_every == 0) {
      continue;
    } else if (is_whole && found < step && whole < retention.keep) {
      ++whole;
      continue;
    } else if (!is_whole && fs::exists(fs::path(folder) / kManifestName)) {
      continue;  // damaged after it was whole: for a person to look at
    }
    try {
      remove_folder(folder);
    } catch (const UserError& error) {
      log::warning("{}", error.what());
    }
  }
}

std::vector<std::string> find_checkpoints(const std::string& run_dir) {
  std::vector<std::string> whole;
  for (const auto& folder : candidates(run_dir)) {
    const std::string problem = quick_problem(folder);
    if (problem.empty()) {
      whole.push_back(folder);
    } else {
      log::warning("checkpoint passed over: {}", problem);
    }
  }
  return whole;
}

std::vector<std::string> damaged_checkpoints(const std::string& run_dir) {
  std::vector<std::string> damaged;
  for (const auto& folder : candidates(run_dir)) {
    if (fs::exists(fs::path(folder) / kManifestName) && !quick_problem(folder).empty()) damaged.push_back(folder);
  }
  return damaged;
}

void drop_checkpoints_after(const std::string& run_dir, std::int64_t step) {
  for (const auto& folder : candidates(run_dir)) {
    if (*step_of_folder(folder) <= step || !quick_problem(folder).empty()) continue;
    log::warning("{}: removed; the run continues before that step", folder);
    remove_folder(folder);
  }
}

void set_aside(const std::string& folder) {
  std::string name = folder + ".damaged";
  for (int i = 2; fs::exists(name); ++i) name = fmt::format("{}.damaged{}", folder, i);
  rename_path(folder, name);
}

std::string find_newest_checkpoint(const std::string& run_dir) {
  const auto whole = find_checkpoints(run_dir);
  return whole.empty() ? "" : whole.front();
}

}  // namespace setrl::store
