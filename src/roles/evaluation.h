// Evaluation on rollout and verifier ranks.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "evaluate/metrics.h"
#include "records/group.h"
#include "roles/rollout_role.h"
#include "roles/session.h"
#include "roles/verifier_role.h"

namespace setrl::roles {

// Every rank calls it; `rollout` and `verifier` are null where this rank has no such role. Returns the verified groups,
// by index, on the root and nothing elsewhere.
std::vector<Group> evaluate_policy(const Session& session, RolloutRole* rollout, VerifierRole* verifier);

using Intervals = std::map<std::string, evaluate::Interval>;
Intervals intervals_of(const Session& session, const std::vector<Group>& groups);

// Publishes FOLDER/NAME.json (metrics with intervals, reliability, histograms) and FOLDER/NAME.h5 (the completions).
void write_evaluation(const Session& session, const std::string& folder, const std::string& name, std::int64_t step,
                      const std::vector<Group>& groups, const Intervals& intervals);

}  // namespace setrl::roles
