// Trajectories in HDF5: every completion with tokens, log-probabilities, text, answers, confidences, verdict. Schema in
// docs/trajectory_format.md. One thread of a process owns all HDF5 calls (the library is not thread-safe).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "records/group.h"

namespace setrl::store {

struct TrajectoryInfo {
  std::int64_t schema_version = 1;
  std::int64_t step = 0;
  std::int64_t policy_version = 0;
  std::string config_hash;
};

// Appends groups to step-NNNNNN.h5 under a temporary name; `publish` fsyncs and renames. Without publish the temporary
// file stays (a crash leaves at most that). Texts are given because the store does not know tokenizers.
class TrajectoryWriter {
 public:
  TrajectoryWriter(const std::string& path, const TrajectoryInfo& info);
  ~TrajectoryWriter();
  void append(const Group& group, const std::vector<std::string>& texts);  // texts [G]
  void publish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct StoredGroup {
  Group group;
  std::vector<std::string> texts;
};

struct Trajectory {
  TrajectoryInfo info;
  std::vector<StoredGroup> groups;  // by index
};

// Throws UserError naming the file where it is no whole trajectory file.
Trajectory read_trajectory(const std::string& path);

// DIR/trajectories/step-000012.h5; with several verifier ranks each writes its own part, step-000012.1.h5 and so on.
std::string trajectory_path(const std::string& run_dir, std::int64_t step, int part);
std::vector<std::string> trajectory_parts(const std::string& run_dir, std::int64_t step);  // existing, ordered
std::vector<std::int64_t> trajectory_steps(const std::string& run_dir);                    // ascending

}  // namespace setrl::store
