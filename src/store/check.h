// What is whole in a run directory, a checkpoint, or a file, and what is not: every checksum is verified. Nothing is
// changed. HDF5 parses only what passed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl::store {

struct CheckReport {
  std::vector<std::string> problems;  // missing, cut off, damaged or mixed-up files, each named
  std::vector<std::string> notes;     // what an interruption left and the next save clears away
  std::vector<std::string> usable;    // what can be used all the same

  bool clean() const { return problems.empty(); }
};

// What a run directory should hold.
struct RunExpectation {
  // Of the configurations that the run had; a file of another one came from elsewhere. Empty: not known.
  std::vector<std::string> config_hashes;
  bool trajectories = true;
  std::int64_t groups_per_step = 0;  // at least; 0: not known
};

// A run directory: metrics.jsonl, trajectories, evaluations, checkpoints. To the hashes of `expectation` those are
// added that whole checkpoints of the folder know ("config_hashes" of their info/extra).
void check_run(const std::string& run_dir, const RunExpectation& expectation, CheckReport& report);

// A checkpoint folder: DONE, every file's size and checksum, the index, files that do not belong.
void check_checkpoint(const std::string& folder, CheckReport& report);

// One file: a trajectory, a file of a checkpoint (by the DONE beside it), or metrics.jsonl.
void check_file(const std::string& path, CheckReport& report);

}  // namespace setrl::store
