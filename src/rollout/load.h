// Weights from files into an engine, where no learner pushes them.
#pragma once

#include "model/weight_source.h"
#include "rollout/engine.h"

namespace setrl::rollout {

// Loads every parameter, one after the other, as version 0. Needs memory for the largest as float32 on the way.
void load(const model::WeightSource& source, Engine& engine);

}  // namespace setrl::rollout
