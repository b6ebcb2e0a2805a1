// What a weight push moves, decided once: pure arithmetic.
//
// Learners hold flat slices of the parameters; each rollout replica is one rank, or several that each hold a part of
// every matrix (model/tensor_parallel.h). A slice goes straight from the learner that has it to the ranks that need
// some of it; nothing is gathered anywhere. It goes to one replica only, the root, and from there along a binomial tree
// of replicas, part by part, each rank to its like in another replica. Roots rotate over learners and units, so that
// every rank sends and receives its share.
//
// Units (model::ParameterSpec::unit) are pushed in order, in steps: in step `unit * stride + hop` the unit makes its
// hop, 0 from the learners to the roots, then along the tree. Different units are on different hops in one step, so
// that all links are busy; stride 1 holds the units of all hops in memory, a larger one fewer.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/model_spec.h"

namespace setrl::sync {

using model::HeldSlice;  // by a learner

// Who takes part, as ranks of the push group.
struct PushMembers {
  std::vector<int> learners;
  std::vector<std::vector<int>> replicas;  // [replicas][parts]; all have the same number of parts
  int parts() const { return replicas.empty() ? 1 : static_cast<int>(replicas.front().size()); }
};

// One contiguous piece of a rank's part.
struct Transfer {
  int step = 0, hop = 0, unit = 0;
  int from = 0, to = 0;  // ranks of the push group; the same where a learner generates too
  int parameter = 0, part = 0;
  std::int64_t begin = 0, end = 0;  // elements of the part, flattened
  int slice = -1;                   // hop 0: which of the sender's slices it comes from
};

class PushSchedule {
 public:
  // `held`: the slices of each learner, in the order of `members.learners`; in any order. Throws BugError naming a
  // parameter that the slices do not cover exactly once. `staging_bytes`: of parts on their way that a rollout rank may
  // hold at once; one unit it holds in any case.
  PushSchedule(std::vector<model::ParameterSpec> table, PushMembers members, std::vector<std::vector<HeldSlice>> held,
               std::int64_t element_bytes, std::int64_t staging_bytes);

  const std::vector<model::ParameterSpec>& table() const { return table_; }
  const PushMembers& members() const { return members_; }
  const std::vector<HeldSlice>& held(int learner) const { return held_[static_cast<std::size_t>(learner)]; }
  int units() const { return units_; }
  int hops() const { return hops_; }  // 1 + depth of the tree
  int stride() const { return stride_; }
  int steps() const { return (units_ - 1) * stride_ + hops_; }
  int first_step(int unit) const { return unit * stride_; }
  int last_step(int unit) const { return unit * stride_ + hops_ - 1; }

  // All transfers, unit by unit, hop by hop. Between two ranks those of one step come in the same order on both.
  void for_each(const std::function<void(const Transfer&)>& visit) const;

  std::int64_t part_elements(int unit) const { return part_elements_[static_cast<std::size_t>(unit)]; }
  // The most that a rollout rank, and a learner, holds for the push at once.
  std::int64_t rollout_staging_bytes() const;
  std::int64_t learner_staging_bytes() const;

 private:
  struct Piece {
    std::int64_t begin, end;
    int learner, slice;
  };
  void check_cover() const;
  void visit_unit(int unit, int hop, const std::function<void(const Transfer&)>& visit) const;

  std::vector<model::ParameterSpec> table_;
  PushMembers members_;
  std::vector<std::vector<HeldSlice>> held_;
  std::int64_t element_bytes_;
  int units_ = 0, hops_ = 1, stride_ = 1;
  std::vector<std::vector<int>> unit_parameters_;  // [units]
  std::vector<std::vector<Piece>> pieces_;         // [parameters], ascending
  std::vector<std::int64_t> part_elements_;        // [units]
};

}  // namespace setrl::sync
