// A plan made real: the communicators of this rank.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "topology/plan.h"

namespace setrl::topology {

struct Groups {
  comm::Communicator* world = nullptr;           // borrowed
  std::unique_ptr<comm::Communicator> learners;  // null where this rank is no learner
  // The first learner and every rollout rank that is no learner (those that are get their weights directly); null
  // elsewhere, and everywhere where nobody needs a push.
  std::unique_ptr<comm::Communicator> push;
  int push_root = 0;  // rank of the first learner in `push`
};

// Collective over `world`.
Groups make_groups(comm::Communicator& world, const Plan& plan);

}  // namespace setrl::topology
