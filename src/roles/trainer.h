// The training loops: where the stages meet.
#pragma once

#include "roles/session.h"

namespace setrl::roles {

// The GRPO run on every rank (DESIGN "The life of a step"). Returns the exit code: 0, or 75 after a save on a signal.
int run_training(const Session& session);

// Supervised cold start: every rank is a learner. Returns the exit code.
int run_supervised(const Session& session);

}  // namespace setrl::roles
