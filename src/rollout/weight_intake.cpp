#include "rollout/weight_intake.h"

#include <fmt/ranges.h>

#include "base/error.h"
#include "model/tensor_parallel.h"

namespace setrl::rollout {

namespace {

void check_shape(const std::string& name, const at::Tensor& tensor, const std::vector<std::int64_t>& shape) {
  SETRL_CHECK(tensor.sizes() == at::IntArrayRef(shape), "{} has shape {}, not {}", name,
              fmt::join(tensor.sizes().vec(), "x"), fmt::join(shape, "x"));
}

}  // namespace

WeightIntake::WeightIntake(const model::ModelSpec& spec, const TensorShard& shard)
    : spec_(spec), local_(shard.local(spec)), shard_(shard) {
  SETRL_CHECK(spec.head_size % 2 == 0 && spec.heads % spec.kv_heads == 0, "head size {} and {} heads over {} groups",
              spec.head_size, spec.heads, spec.kv_heads);
  for (const auto& parameter : model::parameter_table(spec)) parameters_[parameter.name] = parameter;
}

void WeightIntake::begin_update() {
  ready_ = false;
  missing_.clear();
  for (const auto& [name, parameter] : parameters_) missing_.insert(name);
}

void WeightIntake::end_update() {
  SETRL_CHECK(missing_.empty(), "{} parameters never came, {} among them", missing_.size(), *missing_.begin());
  ready_ = true;
}

const model::ParameterSpec& WeightIntake::parameter(const std::string& name) const {
  const auto found = parameters_.find(name);
  SETRL_CHECK(found != parameters_.end(), "the model has no parameter {}", name);
  return found->second;
}

void WeightIntake::update(const std::string& name, const at::Tensor& whole) {
  check_shape(name, whole, parameter(name).shape);
  const model::Cut cut = model::cut_of(name);
  if (cut == model::Cut::whole) {
    accept(name, whole);
    return;
  }
  const std::int64_t dimension = cut == model::Cut::rows ? 0 : 1;
  const std::int64_t count = whole.size(dimension);
  accept(name, whole.narrow(dimension, shard_.begin(count), count / shard_.ranks));
}

void WeightIntake::update_part(const std::string& name, const at::Tensor& part) {
  check_shape(name, part, model::part_shape(parameter(name), shard_.ranks));
  accept(name, part);
}

void WeightIntake::accept(const std::string& name, const at::Tensor& part) {
  const std::string prefix = "model.layers.";
  if (name.rfind(prefix, 0) == 0) {
    const auto dot = name.find('.', prefix.size());
    const auto layer = std::stoul(name.substr(prefix.size(), dot - prefix.size()));
    take_of_layer(layer, name.substr(dot + 1), part);
  } else {
    take(name, part);
  }
  missing_.erase(name);
}

}  // namespace setrl::rollout
