// A rollout rank: generates the groups that are its share and sends each to its verifier as soon as it is finished.
#pragma once

#include <memory>

#include "roles/messages.h"
#include "roles/session.h"
#include "roles/work_list.h"
#include "rollout/engine.h"
#include "rollout/from_config.h"

namespace setrl::roles {

// Loads every parameter into the engine, as version 0.
void load_engine(const model::WeightSource& source, rollout::Engine& engine);

// The policy's tokens as text. Borrows `policy`.
rollout::TextSide text_side(const Policy& policy, const text::Grammar& grammar);

class RolloutRole {
 public:
  explicit RolloutRole(const Session& session);

  rollout::Engine& engine() { return engine_; }

  // Loads the engine from the policy's files (evaluation without learners). In training, weights come by the push.
  void load_weights();

  // Generates this rank's items. Adds seconds and tokens to `report`.
  void generate(const WorkOrder& order, StepReport& report);

 private:
  const Session& session_;
  rollout::Engine engine_;
};

}  // namespace setrl::roles
