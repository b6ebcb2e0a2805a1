// A plan made real: the communicators of this rank.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "topology/plan.h"

namespace setrl::topology {

struct Groups {
  comm::Communicator* world = nullptr;           // borrowed
  std::unique_ptr<comm::Communicator> learners;  // null where this rank is no learner
  // All learners and all rollout ranks; null elsewhere, and everywhere where every rollout rank learns too, as it has
  // the weights then.
  std::unique_ptr<comm::Communicator> push;
  // The rollout ranks that hold one model together, the lead first; null where each holds a whole one.
  std::unique_ptr<comm::Communicator> replica;
};

// Collective over `world`.
Groups make_groups(comm::Communicator& world, const Plan& plan);

}  // namespace setrl::topology
