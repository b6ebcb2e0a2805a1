#include "store/trajectory_file.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "store/hdf5.h"
#include "store/sealed_file.h"
#include "store/trajectory_table.h"

namespace setrl::store {

namespace {

const char* const kKind = "SetRL trajectory";

}  // namespace

struct TrajectoryWriter::State {
  std::string path;
  TrajectoryInfo info;
  std::vector<StoredGroup> groups;
  bool published = false;
};

TrajectoryWriter::TrajectoryWriter(const std::string& path, const TrajectoryInfo& info)
    : state_(std::make_unique<State>()) {
  SETRL_CHECK(info.schema_version == kTableVersion, "schema version {}", info.schema_version);
  state_->path = path;
  state_->info = info;
  make_directories(std::filesystem::path(path).parent_path().string());
}

TrajectoryWriter::~TrajectoryWriter() = default;

void TrajectoryWriter::append(const Group& group, const std::vector<std::string>& texts) {
  SETRL_CHECK(!state_->published, "{} is published already", state_->path);
  state_->groups.push_back({group, texts});
}

void TrajectoryWriter::publish() {
  SETRL_CHECK(!state_->published, "{} is published already", state_->path);
  auto& groups = state_->groups;
  // Groups arrive in any order; the file does not depend on it.
  std::stable_sort(groups.begin(), groups.end(), [](const StoredGroup& a, const StoredGroup& b) {
    return std::tie(a.group.step, a.group.index) < std::tie(b.group.step, b.group.index);
  });
  h5::Image file(kSealBytes);
  h5::write_attribute(file.get(), "format", std::string(kKind));
  h5::write_attribute(file.get(), "schema_version", kTableVersion);
  h5::write_attribute(file.get(), "step", state_->info.step);
  h5::write_attribute(file.get(), "policy_version", state_->info.policy_version);
  h5::write_attribute(file.get(), "config_hash", state_->info.config_hash);
  h5::write_attribute(file.get(), "writer", std::string("SetRL"));
  write_table(file.get(), pack(groups));
  publish_sealed(state_->path, kKind, file.close().bytes());
  groups.clear();
  state_->published = true;
}

Trajectory read_trajectory(const std::string& path) {
  const Bytes image = read_sealed(path, kKind);
  try {
    const h5::Handle file = h5::open_image(image, path);
    Trajectory trajectory;
    TrajectoryInfo& info = trajectory.info;
    info.schema_version = read_schema_version(file.get());
    info.step = h5::read_integer_attribute(file.get(), "step");
    info.policy_version = h5::read_integer_attribute(file.get(), "policy_version");
    info.config_hash = h5::read_string_attribute(file.get(), "config_hash");
    trajectory.groups = unpack(read_table(file.get(), info.schema_version));
    return trajectory;
  } catch (const UserError& error) {
    throw_user_error("{}: {}", path, error.what());
  } catch (const nlohmann::json::exception& error) {
    throw_user_error("{}: messages or golds are not the JSON that was expected: {}", path, error.what());
  }
}

}  // namespace setrl::store
