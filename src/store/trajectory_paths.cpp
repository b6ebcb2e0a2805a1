#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <optional>

#include "base/error.h"
#include "store/trajectory_file.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;

struct Part {
  std::int64_t step = 0;
  std::int64_t number = 0;
};

bool all_digits(const std::string& text) {
  return !text.empty() && text.size() <= 18 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// step-000012.h5 is part 0, step-000012.3.h5 is part 3; other names are nothing.
std::optional<Part> parse_name(std::string name) {
  const auto strip = [&](const std::string& affix, std::size_t at) {
    if (name.size() < affix.size() || name.compare(at, affix.size(), affix) != 0) return false;
    name.erase(at, affix.size());
    return true;
  };
  if (!strip("step-", 0) || name.size() < 3 || !strip(".h5", name.size() - 3)) return std::nullopt;
  const auto dot = name.find('.');
  const std::string step = name.substr(0, dot);
  const std::string number = dot == std::string::npos ? "0" : name.substr(dot + 1);
  if (!all_digits(step) || !all_digits(number)) return std::nullopt;
  return Part{std::stoll(step), std::stoll(number)};
}

// step -> part number -> path
std::map<std::int64_t, std::map<std::int64_t, std::string>> list_parts(const std::string& run_dir) {
  std::map<std::int64_t, std::map<std::int64_t, std::string>> found;
  std::error_code error;
  for (fs::directory_iterator it(fs::path(run_dir) / "trajectories", error), end; !error && it != end;
       it.increment(error)) {
    if (const auto part = parse_name(it->path().filename().string())) {
      found[part->step][part->number] = it->path().string();
    }
  }
  return found;
}

}  // namespace

std::string trajectory_path(const std::string& run_dir, std::int64_t step, int part) {
  const std::string name = part == 0 ? fmt::format("step-{:06}.h5", step) : fmt::format("step-{:06}.{}.h5", step, part);
  return (fs::path(run_dir) / "trajectories" / name).string();
}

std::vector<std::string> trajectory_parts(const std::string& run_dir, std::int64_t step) {
  std::vector<std::string> paths;
  auto parts = list_parts(run_dir);
  for (const auto& [number, path] : parts[step]) paths.push_back(path);
  return paths;
}

std::vector<std::int64_t> trajectory_steps(const std::string& run_dir) {
  std::vector<std::int64_t> steps;
  for (const auto& [step, parts] : list_parts(run_dir)) steps.push_back(step);
  return steps;
}

void drop_trajectories_after(const std::string& run_dir, std::int64_t step) {
  for (const auto& [found, parts] : list_parts(run_dir)) {
    if (found <= step) continue;
    for (const auto& [number, path] : parts) {
      std::error_code error;
      fs::remove(path, error);
      if (error) throw_user_error("{}: cannot remove: {}", path, error.message());
    }
  }
}

}  // namespace setrl::store
