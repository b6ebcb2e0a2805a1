// How the ranks of a save agree without a word over MPI: through small files in the checkpoint's temporary folder. The
// threads that write are not the thread that trains, and MPI takes one thread at a time; and the ranks are through at
// different times, in the middle of somebody's step.
//   session-TOKEN-000007  made by rank 0 when the folder is ready; the save goes on as long as it is there
//   rank-0003.part        rank 3 has written its file: the table of its slices
//   rank-0003.stopped     rank 3 has not: the reason; empty where it was told to stop
// A shared file is opened and closed by calls of MPI-IO that wait for all ranks, for ever. So all first say that they
// stand before the call, and rank 0 says once that they shall go:
//   rank-0003.ready       rank 3 will open the file, and close it, if the others do
//   opening               all are ready: whoever is, opens
//   stopping              the save goes no further: whoever writes, stops
//   closing               all have a .part or .stopped: whoever has the file open, closes
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "store/checkpoint_folders.h"
#include "store/rank_file.h"

namespace setrl::store {

// Thrown out of a save that gives way to a later one. No failure.
struct SaveAbandoned {};

// What another rank could not do; the text names the rank.
class OtherRankFailed : public UserError {
 public:
  using UserError::UserError;
};

// The same on all ranks and different for every save. `token`: of the saver.
struct SaveNumber {
  std::string token;
  std::int64_t number = 0;  // ascending
};

class SaveAgreement {
 public:
  // `pause` is called while waiting and may throw; but not in the waits between `opening` and the end of closing.
  // Borrows `folders`.
  SaveAgreement(const CheckpointFolders& folders, int rank, int ranks, SaveNumber save, double deadline_s,
                std::function<void()> pause);

  // Rank 0 clears and makes the folder, and calls `fill`; the others wait until it has. They throw SaveAbandoned where
  // rank 0 has gone on to a later save.
  void begin(const std::function<void()>& fill = {}) const;
  // False once rank 0 has taken the folder away: another rank failed, or a later save has begun.
  bool goes_on() const;

  // Not rank 0.
  void report(const RankFile& file) const;
  // `reason`: empty for SaveAbandoned. False where it could not be written: the folder may be gone or the disk full.
  bool report_stop(const std::string& reason) const;

  // For a shared file. Returns when it shall be opened, on all ranks or none. Throws SaveAbandoned on the others where
  // rank 0 does not come to it, and on rank 0 like `collect`.
  void before_opening() const;
  // Rank 0: tells all to stop writing. `stopped`: for them to ask.
  void stop_all() const;
  bool stopped() const;
  // Returns when it shall be closed; on rank 0 that is when all others have reported, and where one of them stopped, it
  // has all stop. Throws SaveAbandoned where that will never be, as the save was ended: then it must not be closed.
  void before_closing() const;

  // Rank 0: the files of all ranks, once they are there. Throws SaveAbandoned where another rank was told to stop, and
  // OtherRankFailed with its reason where one failed.
  std::vector<RankFile> collect(RankFile mine) const;
  // Rank 0: until these files exist, which ranks publish by a rename.
  void wait_for_files(const std::vector<std::string>& paths) const;
  // Rank 0: removes all that is not part of the checkpoint.
  void tidy() const;
  // Rank 0, before it removes the folder of a save that goes no further: whoever misses a file then sees why. Any rank
  // that leaves a shared file to the others, or cannot report.
  void end() const;

 private:
  void wait_until(const std::function<bool()>& there, const std::string& what) const;
  int count(const char* ending) const;
  void throw_where_stopped() const;
  std::string path(const std::string& name) const;
  bool later_save_began() const;

  const CheckpointFolders& folders_;
  int rank_, ranks_;
  SaveNumber save_;
  std::string session_;
  double deadline_s_;
  std::function<void()> pause_;
};

}  // namespace setrl::store
