// A rollout rank: generates the groups that it is given, and takes new weights between two steps of its engine. Ranks
// that hold one model together are given the same, and make all calls here together (station.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "roles/mailbox.h"
#include "roles/messages.h"
#include "roles/policy_push.h"
#include "roles/session.h"
#include "roles/work_list.h"
#include "rollout/engine.h"
#include "rollout/from_config.h"

namespace setrl::roles {

// The policy's tokens as text. Borrows `policy`.
rollout::TextSide text_side(const Policy& policy, const text::Grammar& grammar);

class RolloutRole {
 public:
  explicit RolloutRole(const Session& session);

  rollout::Engine& engine() { return engine_; }

  // Loads the engine from the policy's files (evaluation without learners). In training, weights come by the push.
  void load_weights();
  // Takes part in the learners' push, on a rank that is no learner. What is in flight goes on with the new weights.
  void pull_weights(std::int64_t version);

  // `begun`: where the item's group goes on from a checkpoint, else null.
  void take(const ItemNote& item, const Group* begun);
  // Copies of the groups of training that have tokens, as far as they are.
  std::vector<Group> in_flight() const;
  bool idle() const { return engine_.idle(); }
  // One step of the engine. `finished` sees each group that is whole. Adds seconds and tokens to `report`, those of
  // evaluations left out; a follower's tokens are its lead's.
  void step(StepReport& report, const std::function<void(const Group&)>& finished);

  // To be told to the dispenser.
  StandingNote standing();
  // Whether there is room for another item that the last standing did not tell of.
  bool has_more_room() const;

 private:
  std::int64_t room() const;

  const Session& session_;
  rollout::Engine engine_;
  rollout::SamplingOptions sampling_;
  PolicyPush push_;                        // where this rank is no learner
  std::map<std::int64_t, Group> in_hand_;  // by the tag of their requests
  std::int64_t taken_ = 0;                 // items; also the tag of the last one
  std::int64_t told_room_ = 0;             // less what has come since
};

}  // namespace setrl::roles
