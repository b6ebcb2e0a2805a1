// A learner rank: collects verified groups, balances them over the learners, and makes the update.
#pragma once

#include <cstdint>
#include <vector>

#include "learn/learner.h"
#include "roles/messages.h"
#include "roles/session.h"
#include "roles/work_list.h"
#include "store/checkpoint.h"

namespace setrl::roles {

class LearnerRole {
 public:
  explicit LearnerRole(const Session& session);

  learn::Learner& learner() { return learner_; }

  // Receives this rank's items of the order. Returns how many of them carry no signal.
  std::int64_t collect(const WorkOrder& order);
  // The same from stored trajectories (learn.replay).
  void collect_stored(std::int64_t step);

  // Balances what was collected and makes one update. Where no group of any learner carries a signal, nothing changes.
  learn::StepStats update(std::int64_t step, StepReport& report);

  // Collective over learners. `kind`: "train" or "sft"; goes into the checkpoint's description.
  void save(std::int64_t step, std::int64_t policy_version, const std::string& kind);
  // Fills weights and optimizer from a checkpoint of any number of ranks.
  void load(const std::string& folder, const store::CheckpointInfo& info);

 private:
  TrainingBatch balanced(std::int64_t step);

  const Session& session_;
  learn::Learner learner_;
  std::vector<Group> collected_;
};

}  // namespace setrl::roles
