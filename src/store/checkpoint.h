// Checkpoints in HDF5 (DESIGN "A run directory"): rank files or one shared file, index.h5 with virtual datasets,
// checksums, atomic publishing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "records/tensor_view.h"
#include "store/checkpoint_layout.h"

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

// Which checkpoints stay when a new one is whole: the `keep` newest, and besides them every one whose step is a
// multiple of `keep_every` (0: none).
struct Retention {
  int keep = 2;
  std::int64_t keep_every = 0;
};

// Collective over the learners: a CheckpointSaver (store/checkpoint_saver.h) for one save that is waited for. Returns
// the folder. Where any rank fails (disk full, folder not writable) all throw the same UserError and older checkpoints
// stay untouched.
std::string save_checkpoint(const std::string& run_dir, const CheckpointInfo& info,
                            const std::vector<TensorView>& tensors, const Retention& retention,
                            comm::Communicator& learners, Layout layout = Layout::per_rank);

// Folders of the whole checkpoints of a run directory, newest first: DONE, index and file sizes are verified, the rank
// files' content is when it is read (load_checkpoint), so a caller that resumes tries one after the other. Broken ones
// are skipped with a warning.
std::vector<std::string> find_checkpoints(const std::string& run_dir);

// Folders that were whole once (they have a DONE) and are not any more.
std::vector<std::string> damaged_checkpoints(const std::string& run_dir);

// Removes the checkpoints of later steps, when a run continues before them. Damaged ones stay.
void drop_checkpoints_after(const std::string& run_dir, std::int64_t step);

// Renames a damaged checkpoint to FOLDER.damaged: it is not looked at again, and not removed.
void set_aside(const std::string& folder);

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
