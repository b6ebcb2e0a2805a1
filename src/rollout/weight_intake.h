// How new weights come in, tensor by tensor under Hugging Face names: what is expected, in which shape, and which part
// of it is this rank's. Where they go is the business of the classes made from it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "model/model_spec.h"
#include "rollout/tensor_shard.h"

namespace setrl::rollout {

class WeightIntake {
 public:
  WeightIntake(const model::ModelSpec& spec, const TensorShard& shard);
  virtual ~WeightIntake() = default;

  void begin_update();
  // Rounds to the storage type at once: this rank's part of a whole tensor, or that part as it is (model::part_shape).
  // Both throw BugError on an unknown name or a wrong shape.
  void update(const std::string& name, const at::Tensor& whole);
  void update_part(const std::string& name, const at::Tensor& part);
  void end_update();  // throws BugError naming a parameter that never came

  bool ready() const { return ready_; }
  const model::ModelSpec& spec() const { return spec_; }    // of the whole model
  const model::ModelSpec& local() const { return local_; }  // of what is here
  const TensorShard& shard() const { return shard_; }

 protected:
  // A parameter outside of the layers, under its whole name; one of a layer, under what follows "model.layers.N.".
  virtual void take(const std::string& name, const at::Tensor& part) = 0;
  virtual void take_of_layer(std::size_t layer, const std::string& name, const at::Tensor& part) = 0;

  const model::ModelSpec spec_, local_;
  const TensorShard shard_;

 private:
  const model::ParameterSpec& parameter(const std::string& name) const;
  void accept(const std::string& name, const at::Tensor& part);

  bool ready_ = false;
  std::unordered_map<std::string, model::ParameterSpec> parameters_;
  std::unordered_set<std::string> missing_;
};

}  // namespace setrl::rollout
