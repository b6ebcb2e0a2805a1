#include "commands/bench_weights.h"

#include "commands/model_shape.h"
#include "roles/policy.h"

namespace setrl::commands {

std::unique_ptr<model::WeightSource> bench_weights(const RunConfig& config) {
  if (config.bench.shape == "none") return roles::open_policy(config).weights;
  return model::repeated_random_weights(spec_of(topology::known_shape(config.bench.shape, "bench.shape")),
                                        config.run.seed);
}

std::string bench_model(const RunConfig& config) {
  return config.bench.shape == "none" ? config.model.path : config.bench.shape;
}

}  // namespace setrl::commands
