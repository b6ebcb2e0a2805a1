// The one file of a checkpoint whose ranks write it together (Layout::shared), shared.h5: the datasets of all tensors
// as the rank file of a single learner has them, written through MPI-IO. Each call runs on the store's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "records/tensor_view.h"
#include "store/durable_file.h"
#include "store/hdf5.h"
#include "store/rank_file.h"

namespace setrl::store {

constexpr const char* kSharedName = "shared.h5";

// One rank: makes FOLDER/shared.h5 with everything but the data, whose room on the disk is reserved, so that a full
// disk shows before the ranks depend on each other. Of `tensors` only names and shapes count.
void create_shared_file(const std::string& folder, std::int64_t step, const std::vector<TensorView>& tensors);

class SharedFile {
 public:
  // This rank alone finds the file and may write it; UserError where not.
  SharedFile(const std::string& folder, comm::Communicator& writers);
  // Closing alone would wait for the others for ever: what was not closed by all stays open, with a warning.
  ~SharedFile();
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  // Collective over the writers. HDF5's waiting knows no deadline: all must be about to call it.
  void open();
  // This rank's slices, fsynced. Not collective: every rank has stretches of its own and stops where it must. `pause`
  // as in write_rank_file. Of the result only the slices count.
  RankFile write(const std::vector<TensorView>& tensors, const std::function<void()>& pause);
  // Collective, like `open`; returns when all have closed it.
  void close();

 private:
  const std::string path_;
  comm::Communicator& writers_;
  File file_;  // for fsync
  hid_t hdf5_ = -1;
};

// One rank, when the file is closed and fsynced by all: fsyncs it, and describes it as one file with the slices of all
// ranks. `parts` by rank.
RankFile join_parts(const std::string& folder, const std::vector<RankFile>& parts);

}  // namespace setrl::store
