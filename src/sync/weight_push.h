// New weights from the learners to the rollout ranks, shard to shard, by a schedule made once (push_schedule.h).
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "model/model_spec.h"
#include "sync/push_schedule.h"

namespace setrl::sync {

// What one rank of the push group is. A rank may be both.
struct PushRole {
  bool learner = false;
  std::vector<HeldSlice> held;  // learner: may be empty
  int replica = -1;             // rollout: which, ...
  int part = 0;                 // ... and which part of it this rank holds
};

struct PushOptions {
  at::ScalarType wire = at::kFloat;  // type in which weights travel and arrive
  std::int64_t staging_bytes = std::int64_t{1} << 30;
  at::Device device = at::kCPU;  // of the parts that arrive; the group's communicator must know this memory
};

class WeightPush {
 public:
  // Collective over `group`, which it borrows: all learners and all rollout ranks. Throws UserError, the same on every
  // rank, where ranks disagree about model or type, naming the first that does.
  WeightPush(comm::Communicator& group, const PushRole& mine, const std::vector<model::ParameterSpec>& table,
             const PushOptions& options);

  // Flat tensors of the wire type, one for each of the rank's held slices of this unit, in the order of PushRole::held.
  // Called on learners for every unit in order, so it may be collective over them.
  using ReadUnit = std::function<std::vector<at::Tensor>(int unit)>;
  // Gets each parameter's part (its shape by model::part_shape) and may keep it.
  using Deliver = std::function<void(const model::ParameterSpec&, const at::Tensor& part)>;

  // Collective. `read` is called on learners, `deliver` on rollout ranks. Every wait has the communicator's deadline.
  // Throws BugError where the ranks push different versions.
  void run(std::int64_t version, const ReadUnit& read, const Deliver& deliver);

  const PushSchedule& schedule() const { return *schedule_; }
  // The most bytes of parts on their way that this rank held in any run.
  std::int64_t peak_staging_bytes() const { return peak_staging_; }

 private:
  // A unit on its way: this rank's parts of its parameters.
  struct Assembly {
    at::Tensor flat;
    std::vector<std::int64_t> begins;  // by place in unit_parameters_[unit]
  };
  void begin_unit(int unit);
  void end_unit(int unit, const Deliver& deliver);
  at::Tensor part_of(int unit, int parameter) const;
  comm::Parcel arriving(const Transfer& transfer) const;
  // Whole rows around a slice that is cut by columns; transfers of one slice follow each other.
  struct Rows {
    int slice = -1;
    at::Tensor values;
  };
  // The elements of a held slice that a transfer takes, side by side.
  at::Tensor cut(const at::Tensor& slice, const Transfer& transfer, Rows& rows) const;

  comm::Communicator& group_;
  PushRole mine_;
  PushOptions options_;
  std::unique_ptr<PushSchedule> schedule_;
  int parts_ = 1;
  std::vector<std::vector<int>> unit_parameters_;  // [units]
  std::vector<std::vector<Transfer>> steps_;       // [steps]: those from or to this rank
  std::vector<Assembly> assemblies_;               // [units]
  std::int64_t staging_ = 0, peak_staging_ = 0;
};

}  // namespace setrl::sync
