#include "store/in_flight_file.h"

#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "store/crc32c.h"
#include "store/hdf5.h"
#include "store/sealed_file.h"
#include "store/trajectory_table.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;

const char* const kKind = "SetRL groups in flight";
const std::string kPrefix = "in-flight-";

// What a trajectory does not know: which groups are graded, which completions are whole.
struct Progress {
  std::vector<std::uint8_t> graded;    // [N]
  std::vector<std::uint8_t> finished;  // [C]
};

// In the form of a trajectory: with a verdict for each completion, empty where none was given yet.
std::vector<StoredGroup> filled_up(const std::vector<Group>& groups, Progress& progress) {
  std::vector<StoredGroup> stored;
  for (const auto& group : groups) {
    const std::size_t count = group.completions.size();
    progress.graded.push_back(group.verdicts.empty() ? 0 : 1);
    stored.push_back({group, std::vector<std::string>(count)});
    Group& copy = stored.back().group;
    if (group.verdicts.empty()) copy.verdicts.resize(count);
    for (auto& completion : copy.completions) {
      const bool finished = completion.finish != FinishReason::unfinished;
      progress.finished.push_back(finished ? 1 : 0);
      if (!finished) completion.finish = FinishReason::length;
    }
  }
  return stored;
}

std::vector<Group> restored(std::vector<StoredGroup> stored, const Progress& progress) {
  std::vector<Group> groups;
  std::size_t row = 0;
  for (std::size_t n = 0; n < stored.size(); ++n) {
    Group& group = stored[n].group;
    if (progress.graded[n] == 0) group.verdicts.clear();
    for (auto& completion : group.completions) {
      if (progress.finished[row++] == 0) completion.finish = FinishReason::unfinished;
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

std::vector<Group> read_file(const std::string& path) {
  const Bytes image = read_sealed(path, kKind);
  try {
    const h5::Handle file = h5::open_image(image, path);
    const TrajectoryTable table = read_table(file.get(), read_schema_version(file.get()));
    const Progress progress{h5::read_array<std::uint8_t>(file.get(), "groups/graded"),
                            h5::read_array<std::uint8_t>(file.get(), "completions/finished")};
    if (progress.graded.size() != table.groups.index.size() ||
        progress.finished.size() != table.completions.reward.size()) {
      throw_user_error("groups/graded or completions/finished does not fit the other datasets");
    }
    return restored(unpack(table), progress);
  } catch (const UserError& error) {
    throw_user_error("{}: {}", path, error.what());
  } catch (const nlohmann::json::exception& error) {
    throw_user_error("{}: messages or golds are not the JSON that was expected: {}", path, error.what());
  }
}

}  // namespace

ManifestEntry write_in_flight(const std::string& folder, int rank, const std::vector<Group>& groups) {
  Progress progress;
  const auto stored = filled_up(groups, progress);
  h5::Image file(kSealBytes);
  h5::write_attribute(file.get(), "format", std::string(kKind));
  h5::write_attribute(file.get(), "schema_version", kTableVersion);
  write_table(file.get(), pack(stored));
  h5::write_array(file.get(), "groups/graded", progress.graded);
  h5::write_array(file.get(), "completions/finished", progress.finished);
  const Bytes bytes = sealed(kKind, file.close().bytes());
  const std::string name = fmt::format("{}{:04}.h5", kPrefix, rank);
  publish_file((fs::path(folder) / name).string(), bytes);
  return {name, static_cast<std::int64_t>(bytes.size()), crc32c(bytes.data(), bytes.size())};
}

std::vector<Group> read_in_flight(const std::string& folder) {
  std::vector<Group> groups;
  for (const auto& entry : read_manifest(folder).files) {
    if (entry.name.compare(0, kPrefix.size(), kPrefix) != 0) continue;
    verify_entry(folder, entry, true);
    auto more = read_file((fs::path(folder) / entry.name).string());
    groups.insert(groups.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return groups;
}

}  // namespace setrl::store
