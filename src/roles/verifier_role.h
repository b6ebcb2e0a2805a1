// A verifier rank: grades groups as they come, and keeps those of training for the trajectory files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "roles/messages.h"
#include "roles/session.h"
#include "store/trajectory_file.h"
#include "verify/verifier.h"

namespace setrl::roles {

class VerifierRole {
 public:
  explicit VerifierRole(const Session& session);

  // The group (of step 0: of an evaluation) with its verdicts. Adds the seconds to `report`, those of evaluations left
  // out.
  Group grade(Group group, StepReport& report);

  // For the trajectory file of its step.
  void keep(Group group);
  // Has the store's thread write the groups kept for the step as this rank's part of its trajectory file.
  void write_trajectory(std::int64_t step, StepReport& report);

 private:
  const Session& session_;
  verify::Verifier verifier_;
  std::unique_ptr<verify::Verifier> single_verifier_;  // of evaluations that ask for single answers
  std::map<std::int64_t, std::vector<Group>> kept_;    // by step
};

}  // namespace setrl::roles
