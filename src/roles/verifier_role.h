// A verifier rank: grades groups as they come, passes them on, and keeps them for the trajectory file.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "roles/messages.h"
#include "roles/session.h"
#include "roles/work_list.h"
#include "store/trajectory_file.h"
#include "verify/verifier.h"

namespace setrl::roles {

class VerifierRole {
 public:
  explicit VerifierRole(const Session& session);

  // Grades this rank's items of the order. Training: each goes to its learner, and a summary to the root. Evaluation
  // (the plan's learners are not involved): whole groups go to the root.
  void verify_training(const WorkOrder& order, StepReport& report);
  void verify_evaluation(const WorkOrder& order, StepReport& report);

  // Has the store's thread write the groups graded since the last call as this rank's part of the step's trajectory
  // file.
  void write_trajectory(std::int64_t step, std::int64_t policy_version, StepReport& report);

 private:
  Group grade(const verify::Verifier& verifier, StepReport& report);

  const Session& session_;
  verify::Verifier verifier_;
  std::unique_ptr<verify::Verifier> single_verifier_;  // of evaluations that ask for single answers
  std::vector<Group> finished_;
};

}  // namespace setrl::roles
