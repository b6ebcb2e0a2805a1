// What the root learns of groups and ranks for the metrics.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "records/group.h"

namespace setrl::roles {

// A copy with what metrics need: answers, verdicts, token counts.
Group summary_of(const Group& group);

// What one rank spent in a step: on a rank that is no learner, since it got the weights before.
struct StepReport {
  double rollout_s = 0, verify_s = 0, learn_s = 0, sync_s = 0;
  double trajectory_s = 0;  // handing the step's trajectory over to the store's thread
  double checkpoint_s = 0;  // training stood still for a save
  double new_tokens = 0;
  double peak_rss_bytes = 0;
  double window_s = 0;  // that the report is about
  double idle_s = 0;    // nothing to do
  bool rollout_rank = false;

  double idle_share() const { return window_s > 0 ? idle_s / window_s : 0; }
};

// Every rank calls it; on the root it returns the reports of all ranks, elsewhere nothing.
std::vector<StepReport> gather_reports(comm::Communicator& world, const StepReport& mine);

// The largest times and the sums of what is counted. The window, and idle_s in it: means over rollout ranks.
StepReport merged(const std::vector<StepReport>& reports);

}  // namespace setrl::roles
