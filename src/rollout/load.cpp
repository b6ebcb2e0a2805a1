#include "rollout/load.h"

#include <algorithm>

namespace setrl::rollout {

void load(const model::WeightSource& source, Engine& engine) {
  const auto table = model::parameter_table(source.spec());
  std::int64_t largest = 0;
  for (const auto& parameter : table) largest = std::max(largest, parameter.elements());
  // One buffer for all: the engine copies what it is shown, and fresh pages for each would cost more than the reading.
  const at::Tensor buffer = at::empty({largest}, at::kFloat);
  engine.begin_update();
  for (const auto& parameter : table) {
    source.read(parameter.name, 0, parameter.elements(), buffer.data_ptr<float>());
    engine.update(parameter.name, buffer.narrow(0, 0, parameter.elements()).view(parameter.shape));
  }
  engine.end_update(0);
}

}  // namespace setrl::rollout
