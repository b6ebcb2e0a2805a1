// What travels between roles over the world communicator.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "records/group.h"

namespace setrl::roles {

enum Tag : int {
  kGenerated = 11,  // Group without verdicts: rollout -> verifier
  kVerified = 12,   // Group with verdicts: verifier -> learner, or the root in evaluations
  kSummary = 13,    // Group without texts and log-probabilities: verifier -> root, for the metrics
  kReport = 14,     // StepReport: every rank -> root
};

void send_group(comm::Communicator& world, int destination, Tag tag, const Group& group);
Group receive_group(comm::Communicator& world, Tag tag);

// A copy with what metrics need: answers, verdicts, token counts.
Group summary_of(const Group& group);

// What one rank spent in a step; the root keeps the largest times and sums the tokens.
struct StepReport {
  double rollout_s = 0, verify_s = 0, learn_s = 0, sync_s = 0;
  double trajectory_s = 0;  // handing the step's trajectory over to the store's thread
  double checkpoint_s = 0;  // training stood still for a save
  double new_tokens = 0;
  double peak_rss_bytes = 0;
};

// Every rank calls it; on the root it returns the reports merged.
StepReport gather_reports(comm::Communicator& world, const StepReport& mine);

}  // namespace setrl::roles
