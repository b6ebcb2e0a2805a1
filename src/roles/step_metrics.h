// The line of metrics.jsonl.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "learn/learner.h"
#include "records/group.h"
#include "roles/messages.h"

namespace setrl::roles {

struct StepRecord {
  std::int64_t step = 0;
  std::int64_t policy_version = 0;  // that wrote the groups
  std::vector<Group> groups;        // summaries, any order
  learn::StepStats stats;
  StepReport report;
  double step_s = 0;
};

struct StepLine {
  std::string json;      // one line, keys in a fixed order, without the line break
  std::string progress;  // for the terminal
};

// Sorts the record's groups by index first, so that the numbers do not depend on the order of arrival.
StepLine describe_step(StepRecord& record, int k);

}  // namespace setrl::roles
