// Forward and backward of the whole model over one micro-batch, unit by unit: gather, compute, let go; gather again in
// the backward, and reduce a unit's gradient as soon as its backward ends.
#pragma once

#include <functional>
#include <vector>

#include "learn/head.h"
#include "learn/packing.h"
#include "learn/sharded_parameters.h"
#include "model/model_spec.h"

namespace setrl::learn {

class Network {
 public:
  // Borrows both. With `checkpointing` only the blocks' inputs are kept and each block is computed again in the
  // backward.
  Network(const model::ModelSpec& spec, ShardedParameters& parameters, bool checkpointing)
      : spec_(spec), parameters_(parameters), checkpointing_(checkpointing) {}

  // Both are collective, also for a micro-batch without rows (a rank that has fewer micro-batches than others).
  std::vector<RowStats> evaluate(const MicroBatch& batch, double temperature, ShardedParameters::Version version);

  // The loss seen from the head: `gradient` is called once with all loss tokens where `whole` is set (the head then
  // runs forward twice), else chunk by chunk in order.
  struct Loss {
    bool whole = false;
    LossGradient gradient;
  };
  void train(const MicroBatch& batch, double temperature, const Loss& loss);

 private:
  at::Tensor head_weight(const at::Tensor& first_unit, const at::Tensor& last_unit) const;

  const model::ModelSpec& spec_;
  ShardedParameters& parameters_;
  bool checkpointing_;
};

}  // namespace setrl::learn
