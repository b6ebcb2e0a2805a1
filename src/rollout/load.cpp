#include "rollout/load.h"

namespace setrl::rollout {

void load(const model::WeightSource& source, Engine& engine) {
  engine.begin_update();
  for (const auto& parameter : model::parameter_table(source.spec())) {
    const at::Tensor tensor = at::empty(parameter.shape, at::kFloat);
    source.read(parameter.name, 0, parameter.elements(), tensor.data_ptr<float>());
    engine.update(parameter.name, tensor);
  }
  engine.end_update(0);
}

}  // namespace setrl::rollout
