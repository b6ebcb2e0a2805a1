// Checkpoints in HDF5 (DESIGN "A run directory"): rank files, index.h5 with virtual datasets, checksums, atomic
// publishing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "records/tensor_view.h"

namespace setrl::store {

struct CheckpointInfo {
  std::int64_t schema_version = 1;
  std::int64_t step = 0;  // steps done
  std::int64_t policy_version = 0;
  std::int64_t optimizer_steps = 0;
  std::string config;  // resolved .cfg text
  std::string config_hash;
  std::string model_config;                                // config.json text
  std::string extra;                                       // JSON of the caller: best evaluation, sft done, ...
  std::vector<std::pair<std::string, std::string>> files;  // tokenizer.json and the like: name, content
};

// Collective over the learners. Writes DIR/checkpoints/step-N.tmp/, fsyncs, verifies, renames, DONE, `latest`, then
// prunes to `keep` newest (this one always stays; those of later steps go, because the run was resumed before them).
// Every rank gives the same tensors (float32); the slices of all ranks tile each one. Returns the folder. Where any
// rank fails (disk full, folder not writable) all throw the same UserError and older checkpoints stay untouched. The
// names "info" and "slices" are taken: a tensor's name begins otherwise.
std::string save_checkpoint(const std::string& run_dir, const CheckpointInfo& info,
                            const std::vector<TensorView>& tensors, int keep, comm::Communicator& learners);

// Folders of the whole checkpoints of a run directory, newest first: DONE, index and file sizes are verified, the rank
// files' content is when it is read (load_checkpoint), so a caller that resumes tries one after the other. Broken ones
// are skipped with a warning.
std::vector<std::string> find_checkpoints(const std::string& run_dir);

// Folder of the newest whole checkpoint of a run directory, or "" where there is none. Broken ones are skipped with a
// warning.
std::string find_newest_checkpoint(const std::string& run_dir);

struct TensorEntry {
  std::string name;
  std::vector<std::int64_t> shape;
};

// An opened checkpoint, whatever number of ranks wrote it. Not collective. Nothing is believed before its checksum was
// verified: DONE by its own, index.h5 by DONE, each block of a rank file by the index. HDF5 parses index.h5 in the
// constructor and never a rank file: the data are read at the offsets that the index gives. So `read` may be called by
// several threads at once, beside an HDF5 call of another one.
class CheckpointReader {
 public:
  // Throws UserError naming the file and what is wrong with it.
  explicit CheckpointReader(const std::string& folder);
  ~CheckpointReader();

  const CheckpointInfo& info() const;
  std::vector<TensorEntry> tensors() const;  // in the learner's order
  // Elements [begin, end) of one flattened tensor.
  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const;
  // Fills each view's slice. A missing tensor or another shape is a UserError naming it.
  void load(const std::vector<TensorView>& tensors) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The same for a single question. Each call opens the checkpoint again.
CheckpointInfo read_checkpoint_info(const std::string& folder);

void load_checkpoint(const std::string& folder, const std::vector<TensorView>& tensors);
void read_tensor(const std::string& folder, const std::string& name, std::int64_t begin, std::int64_t end, float* out);
std::vector<TensorEntry> list_tensors(const std::string& folder);

}  // namespace setrl::store
