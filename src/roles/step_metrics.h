// The line of metrics.jsonl.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "learn/learner.h"
#include "records/group.h"
#include "roles/mailbox.h"
#include "roles/messages.h"

namespace setrl::roles {

struct StepRecord {
  std::int64_t step = 0;
  std::int64_t policy_version = 0;  // that the step trains
  std::vector<Group> groups;        // summaries, any order
  learn::StepStats stats;
  StepReport report;
  Straggler straggler;        // rank -1: nothing was generated
  double straggler_idle = 0;  // share of the time since the weights before in which that rank had nothing to do
  double step_s = 0;
};

struct StepLine {
  std::string json;      // one line, keys in a fixed order, without the line break
  std::string progress;  // for the terminal
};

struct Staleness {
  std::int64_t largest = 0;
  double mean = 0;  // over completions
};
// Updates by which the policy that wrote a completion's first token was older than the one that the step trains.
Staleness staleness_of(const StepRecord& record);

// Sorts the record's groups by index first, so that the numbers do not depend on the order of arrival.
StepLine describe_step(StepRecord& record, int k);

}  // namespace setrl::roles
