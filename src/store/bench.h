// What the store costs, against plain writes and reads of the same bytes by the same process (`setrl bench store`).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "records/tensor_view.h"
#include "store/checkpoint_layout.h"
#include "store/trajectory_file.h"

namespace setrl::store {

struct BenchResult {
  std::int64_t bytes = 0;                 // of a checkpoint, all ranks
  double write_s = 0, plain_write_s = 0;  // save that is waited for; write and fsync
  double read_s = 0, plain_read_s = 0;    // load; read. From the disk, as far as the kernel drops its cache
  double stall_s = 0;                     // training stands still for an asynchronous save, with a step behind it
  double stall_at_once_s = 0;             // the same where the weights change at once: the whole copy is waited for
  std::int64_t trajectory_bytes = 0;      // of the file
  double trajectory_write_s = 0;          // on the store's thread
  double trajectory_stall_s = 0;          // handing it over
  std::int64_t in_flight_bytes = 0;       // what the same groups add to a checkpoint, in flight
  double in_flight_write_s = 0;           // on the store's thread
};

// Collective. Best of `repeats` for each time, the two kinds in turn. FOLDER is made and removed. `tensors`: this
// rank's slices, which are overwritten with equal values. `step_s`: length of the step that an asynchronous save has
// behind it. `layout`: of the checkpoints.
BenchResult bench_store(const std::string& folder, const std::vector<TensorView>& tensors,
                        const std::vector<StoredGroup>& groups, double step_s, int repeats, Layout layout,
                        comm::Communicator& learners);

}  // namespace setrl::store
