#include "topology/split.h"

#include <algorithm>
#include <limits>

namespace setrl::topology {

std::optional<TopologySection> best_split(const RunConfig& config, const ModelShape& shape, int ranks) {
  const TopologySection& given = config.topology;
  std::optional<TopologySection> best;
  double least = std::numeric_limits<double>::infinity();
  const auto consider = [&](const TopologySection& split) {
    RunConfig candidate = config;
    candidate.topology = split;
    const Forecast f = forecast(candidate, shape, ranks);
    if (!f.misfits.empty() || f.time.step >= least) return;
    least = f.time.step;
    best = split;
  };
  if (ranks < 3) {
    consider(given);
    return best;
  }
  const int per_node = ranks_per_node(config);
  const bool whole_nodes = config.machine.device == "gpu" && ranks >= 3 * per_node;
  const int verifiers = given.verifier > 0 ? given.verifier : whole_nodes ? per_node : 1;
  const int rest = ranks - verifiers;
  // At most some hundred candidates, however many ranks.
  const int unit = whole_nodes ? per_node : 1;
  const int stride = unit * std::max(1, rest / unit / 256);
  for (int learner = std::min(unit, rest - 1); learner < rest; learner += stride) {
    const int rollout = rest - learner;
    if (given.learner > 0 && learner != given.learner) continue;
    if (given.rollout > 0 && rollout != given.rollout) continue;
    if (rollout % config.rollout.tensor_parallel != 0) continue;
    consider({rollout, verifiers, learner});
  }
  return best;
}

}  // namespace setrl::topology
