// New weights from the learners of a run to its rollout engines.
#pragma once

#include <cstdint>
#include <optional>

#include "learn/learner.h"
#include "roles/session.h"
#include "rollout/engine.h"
#include "sync/weight_push.h"

namespace setrl::roles {

class PolicyPush {
 public:
  // `learner`, `engine`: this rank's, or null. Borrows all of them.
  PolicyPush(const Session& session, learn::Learner* learner, rollout::Engine* engine)
      : session_(session), learner_(learner), engine_(engine) {}

  // Collective over learners and rollout ranks, each of which gets the part of the model that it holds; nothing on
  // others. The first call also makes the schedule.
  void run(std::int64_t version);

 private:
  void prepare();

  const Session& session_;
  learn::Learner* learner_;
  rollout::Engine* engine_;
  std::optional<sync::WeightPush> push_;
};

}  // namespace setrl::roles
