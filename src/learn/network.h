// Forward and backward of the whole model over one micro-batch, unit by unit: gather, compute, let go; gather again in
// the backward, and reduce a unit's gradient as soon as its backward ends. The next unit's gather and the last unit's
// reduction go on meanwhile.
#pragma once

#include <functional>
#include <vector>

#include "learn/block.h"
#include "learn/head.h"
#include "learn/packing.h"
#include "learn/sharded_parameters.h"
#include "model/model_spec.h"

namespace setrl::learn {

// Low-rank adapters of the blocks, by unit; the other parameters are frozen then.
struct LowRank {
  ShardedParameters* adapters = nullptr;
  double scale = 0;
};

class Network {
 public:
  using Version = ShardedParameters::Version;

  // Borrows everything.
  Network(const model::ModelSpec& spec, ShardedParameters& parameters, Keep keep, LowRank low_rank = {})
      : spec_(spec), parameters_(parameters), keep_(keep), low_rank_(low_rank) {}

  // Both are collective, also for a micro-batch without rows (a rank that has fewer micro-batches than others). The
  // reference is the initial policy.
  std::vector<RowStats> evaluate(const MicroBatch& batch, double temperature, Version version);

  // The loss seen from the head: `gradient` is called once with all loss tokens where `whole` is set (the head then
  // runs forward twice), else chunk by chunk in order.
  struct Loss {
    bool whole = false;
    LossGradient gradient;
  };
  void train(const MicroBatch& batch, double temperature, const Loss& loss);

 private:
  // Of one unit: whole flat weights, or gradients.
  struct Unit {
    at::Tensor flat, adapters;
  };
  void start_gather(int unit, Version version);
  Unit gather(int unit, Version version);
  Unit gradient_buffers(int unit);
  void start_reduce(int unit, Unit gradient);
  BlockTensors block(int unit, const Unit& of) const;
  at::Tensor head_weight(const Unit& first, const Unit& last) const;

  const model::ModelSpec& spec_;
  ShardedParameters& parameters_;
  Keep keep_;
  LowRank low_rank_;
};

}  // namespace setrl::learn
