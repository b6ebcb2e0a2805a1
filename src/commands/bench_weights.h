// The model that bench rollout, learn and sync work with: model.path, or a built-in shape.
#pragma once

#include <memory>
#include <string>

#include "config/run_config.h"
#include "model/weight_source.h"

namespace setrl::commands {

// Those of model.path; with bench.shape random ones (run.seed) of that shape, which no file is needed for.
std::unique_ptr<model::WeightSource> bench_weights(const RunConfig& config);

// Its name for the line of JSON.
std::string bench_model(const RunConfig& config);

}  // namespace setrl::commands
