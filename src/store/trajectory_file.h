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
  std::int64_t schema_version = 3;
  std::int64_t step = 0;
  std::int64_t policy_version = 0;
  std::string config_hash;
};

// Collects a step's groups in memory; `publish` writes PATH.tmp, fsyncs and renames, so PATH is always whole. A crash
// loses at most the current step's file. Texts are given because the store does not know tokenizers. Throws UserError
// where the folder is not writable or the disk is full (PATH is then as before). Equal groups give equal bytes, in
// whatever order they were appended.
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

// Throws UserError naming the file where it is no whole trajectory file; every byte is verified before it is parsed.
// The order of a verdict's reward terms is that of the file's term names.
Trajectory read_trajectory(const std::string& path);

// DIR/trajectories/step-000012.h5; with several verifier ranks each writes its own part, step-000012.1.h5 and so on.
std::string trajectory_path(const std::string& run_dir, std::int64_t step, int part);
std::vector<std::string> trajectory_parts(const std::string& run_dir, std::int64_t step);  // existing, ordered
std::vector<std::int64_t> trajectory_steps(const std::string& run_dir);                    // ascending
// Removes the files of later steps: a resumed run writes them again, perhaps with another number of parts.
void drop_trajectories_after(const std::string& run_dir, std::int64_t step);

}  // namespace setrl::store
