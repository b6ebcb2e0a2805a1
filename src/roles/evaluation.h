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

// The metrics of the answer sets that eval.mode makes of the groups.
evaluate::Report report_of(const Session& session, const std::vector<Group>& groups);

// Publishes FOLDER/NAME.json (the report) and FOLDER/NAME.h5 (the completions as they were sampled).
void write_evaluation(const Session& session, const std::string& folder, const std::string& name, std::int64_t step,
                      const std::vector<Group>& groups, const evaluate::Report& report);

// "200 problems of ddxplus/test, 3 completions each (single)".
std::string describe(const evaluate::Report& report);

}  // namespace setrl::roles
