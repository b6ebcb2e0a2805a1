// One save of one rank, as the store's thread does it, and what the thread that trains sees of it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "records/group.h"
#include "store/checkpoint.h"
#include "store/checkpoint_folders.h"
#include "store/rank_file.h"
#include "store/save_agreement.h"
#include "store/staged_copy.h"
#include "store/store_thread.h"

namespace setrl::store {

struct SaveOrder {
  CheckpointInfo info;
  std::vector<TensorView> tensors;
  std::vector<std::string> after;  // files that must exist before the checkpoint does
  std::string run_dir;
  Retention retention;
  int rank = 0, ranks = 1;
  SaveNumber number;
  double deadline_s = 0;
  comm::Communicator* writers = nullptr;  // the learners, for the thread that writes a shared file; null: rank files
  std::future<std::vector<Group>> in_flight;  // of this rank, handed over while the save goes on; not valid: none
};

struct SaveResult {
  std::string error;  // names the rank; empty: whole, abandoned, or (other ranks than 0) this rank's part is done
  bool bug = false;
};

class SaveWork {
 public:
  // `memory`: of an earlier save that has ended.
  SaveWork(SaveOrder what, StagingMemory memory);

  // On the store's thread: copies, writes, and publishes (rank 0). Never throws.
  void run(StoreThread& thread);

  // For the thread that trains. `abandon`: a later save follows, on all ranks. `leave`: nothing follows.
  void abandon() { abandoned_ = true; }
  void leave() { left_ = true; }
  void wait_for_copy() { copy_.complete(); }
  void wait();
  bool wait_for(std::chrono::microseconds span);  // true once it has ended
  SaveResult result();                            // empty while it goes on
  std::int64_t step() const { return order_.info.step; }
  StagingMemory take_memory() { return copy_.take_memory(); }  // once it has ended

 private:
  void lead(StoreThread& thread);
  void follow(StoreThread& thread);
  void add_in_flight(RankFile& file, const std::string& folder, const std::function<void()>& pause);
  RankFile write_own(const std::string& folder, const std::function<void()>& pause);
  RankFile write_shared(const CheckpointFolders& folders, const SaveAgreement& agreement, StoreThread& thread);
  bool gives_up() const { return abandoned_ || left_; }
  void tell(const SaveAgreement& agreement, const std::string& reason);
  std::string named(const std::string& problem) const;

  std::future<std::vector<Group>> in_flight_;
  const SaveOrder order_;
  StagedCopy copy_;
  std::atomic<bool> abandoned_{false}, left_{false};
  // Of the store's thread. `bound_`: the others count on this rank to open and close the shared file with them.
  bool bound_ = false, told_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  SaveResult result_;
};

}  // namespace setrl::store
