// Checkpoints that are written while training goes on. docs/checkpoint_format.md ("While training goes on") has the
// reasons for the design.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "records/group.h"
#include "store/checkpoint.h"
#include "store/checkpoint_layout.h"
#include "store/store_thread.h"

namespace setrl::store {

class SaveWork;

struct SaverOptions {
  std::string run_dir;
  Retention retention;
  double deadline_s = 1800;  // longest wait for another rank; <= 0: none
  // Asked while `save` waits for an earlier save: true where there is no time left and that one shall be abandoned.
  std::function<bool()> urgent;
  Layout layout = Layout::per_rank;
};

// One a learner rank. All members are for the thread that trains. At most one save is on its way; its copy of the
// tensors is the only memory (as much as the tensors) and is kept for the next one.
class CheckpointSaver {
 public:
  // Collective. Borrows both. Throws UserError on all ranks where the run directory is not writable, or not the same
  // for all of them, or where this program cannot write files of the layout.
  CheckpointSaver(SaverOptions options, comm::Communicator& learners, StoreThread& thread);
  // Abandons what is on its way.
  ~CheckpointSaver();

  // Every rank calls it with the same info and tensors (float32), the slices of all ranks tile each tensor; no MPI. The
  // names "info" and "slices" are taken: a tensor's name begins otherwise. The tensors must stay as they are until
  // `wait_for_copy`. Rank 0 publishes the checkpoint once the files of all ranks and those of `after` exist. Where
  // `in_flight` is valid it brings groups, which become part of the checkpoint: they must be handed over before the
  // next save. Waits for an earlier save; throws what that one failed with.
  void save(const CheckpointInfo& info, const std::vector<TensorView>& tensors, std::vector<std::string> after = {},
            std::future<std::vector<Group>> in_flight = {});
  void wait_for_copy();
  // Throws where this rank's part of a save has failed since. Of ranks that fail, the others learn by `finish`.
  void check();
  // Gives up a save that is not complete, for a later one. Every rank calls it.
  void abandon();
  // Collective: waits until nothing is on its way. Where any rank failed all throw the same error.
  void finish();

 private:
  void wait_for_earlier();
  void remove_rest();

  SaverOptions options_;
  comm::Communicator& learners_;
  std::unique_ptr<comm::Communicator> writers_;  // the same ranks, for the thread that writes a shared file; or null
  StoreThread& thread_;
  std::string token_;
  std::int64_t saves_ = 0;
  std::shared_ptr<SaveWork> current_;
};

}  // namespace setrl::store
