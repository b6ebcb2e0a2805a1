// Weights from files into an engine, where no learner pushes them.
#pragma once

#include "model/weight_source.h"
#include "rollout/engine.h"

namespace setrl::rollout {

// Loads every parameter, one after the other, as version 0.
void load(const model::WeightSource& source, Engine& engine);

}  // namespace setrl::rollout
