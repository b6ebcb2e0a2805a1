// Every rank holds one flat float32 shard of each unit's weights, AdamW moments and gradients; a unit is gathered
// whole, in the compute dtype, only while it is used.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "learn/kernels.h"
#include "learn/unit_layout.h"
#include "model/weight_source.h"
#include "records/tensor_view.h"

namespace setrl::learn {

class ShardedParameters {
 public:
  // Reads this rank's shards from `source`. Borrows `communicator`. `reference` keeps a second copy of the initial
  // weights, in the compute dtype.
  ShardedParameters(const model::WeightSource& source, comm::Communicator& communicator, at::ScalarType dtype,
                    bool reference);

  int units() const { return static_cast<int>(layouts_.size()); }
  const UnitLayout& layout(int unit) const { return layouts_[static_cast<std::size_t>(unit)]; }
  at::ScalarType dtype() const { return dtype_; }

  enum class Version { current, reference };
  // Collective. The unit's flat weights [ranks * shard] in the compute dtype, valid until the weights change. On one
  // rank the result is shared: the master itself (float32), or a copy that is kept until drop_copies() (bfloat16).
  at::Tensor gather(int unit, Version version = Version::current);
  void drop_copies();

  // A zeroed flat float32 buffer [ranks * shard] to add the unit's gradient to; on one rank the accumulator itself.
  at::Tensor gradient_buffer(int unit);
  // Collective. Sums the ranks' buffers and adds this rank's part to its gradient shard.
  void reduce(int unit, const at::Tensor& gradient);
  void zero_gradients();

  double squared_gradient_norm();  // of all ranks' gradients; collective, equal everywhere
  void update(AdamwStep step);     // AdamW on this rank's shards; weight decay on matrices only
  void zero_moments();

  std::vector<TensorView> state();

 private:
  struct Shard {
    at::Tensor weights, moment1, moment2, gradient;  // [shard] float32
    at::Tensor reference;                            // [shard] compute dtype
    at::Tensor copy;                                 // gathered copy on a single rank
  };
  at::Tensor gather_shard(const at::Tensor& shard);
  void add_views(const std::string& prefix, at::Tensor Shard::*member, std::vector<TensorView>& views);

  comm::Communicator& communicator_;
  at::ScalarType dtype_;
  std::vector<UnitLayout> layouts_;
  std::vector<Shard> shards_;
};

}  // namespace setrl::learn
