// Every rank holds one flat shard of each unit's parameters; a unit is gathered whole, in the compute dtype, only while
// it is used. Trainable parameters have a float32 master, AdamW moments and a gradient, frozen ones only the compute
// dtype. Gathers and reductions can be started ahead of their use and go on while the caller computes.
//
// On a GPU the communicator works on a stream of its own, behind what the caller has put on LibTorch's (the default
// one). No tensor is ever let go or written anew while that stream may use it: a gather holds its buffer, and a
// reduction its gradient, until its request was waited for on the host; what is computed later is put on the default
// stream later. Large buffers of a unit are kept for the next one (Buffers), so that the allocator's memory does not
// fall to pieces.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "learn/buffers.h"
#include "learn/gpu_device.h"
#include "learn/kernels.h"
#include "learn/unit_layout.h"
#include "records/tensor_view.h"

namespace setrl::learn {

// Fills out[0 .. end-begin) with float32 elements [begin, end) of the named parameter.
using ReadSlice = std::function<void(const std::string& name, std::int64_t begin, std::int64_t end, float* out)>;

struct Sharding {
  at::ScalarType dtype = at::kFloat;  // of gathered units
  bool trainable = true;
  bool reference = false;  // keep a second copy of the initial weights, in the compute dtype (trainable ones only)
  bool reshard = true;     // false: a gathered unit is kept until the weights change, so that it is gathered once
  at::Device device = at::kCPU;  // of shards and gathered units
  bool offload = false;  // GPUs: masters and moments lie in pinned host memory, beside a copy in the compute dtype
};

class ShardedParameters {
 public:
  // Reads this rank's shards. Borrows `communicator`.
  ShardedParameters(std::vector<UnitLayout> layouts, const ReadSlice& read, comm::Communicator& communicator,
                    const Sharding& sharding);

  int units() const { return static_cast<int>(layouts_.size()); }
  const std::vector<UnitLayout>& layouts() const { return layouts_; }
  const UnitLayout& layout(int unit) const { return layouts_[static_cast<std::size_t>(unit)]; }
  bool trainable() const { return sharding_.trainable; }

  enum class Version { current, reference };
  // Collective. Begins to gather a unit that gather() will be asked for; units are asked for in the order of starting.
  void start_gather(int unit, Version version = Version::current);
  // Collective. The unit's flat weights [ranks * shard] in the compute dtype, valid until the weights change. On one
  // rank the result is shared: the master itself (float32), or a copy that is kept until drop_copies() (bfloat16).
  at::Tensor gather(int unit, Version version = Version::current);
  void drop_copies();
  // This rank's flat shard of the unit [shard] in the compute dtype, as the others gather it. Shared where it is stored
  // like that.
  at::Tensor own_shard(int unit) const;

  // A zeroed flat float32 buffer [ranks * shard] to add the unit's gradient to; on one rank the accumulator itself.
  // Undefined where the parameters are frozen.
  at::Tensor gradient_buffer(int unit);
  // Collective. Begins to sum the ranks' buffers; this rank's part is in its gradient shard after finish_reduce(). One
  // reduction is on its way at a time: the next call finishes the one before.
  void start_reduce(int unit, at::Tensor gradient);
  void finish_reduce();
  void zero_gradients();

  double squared_gradient_norm() const;  // of this rank's shards
  void update(AdamwStep step);           // AdamW on this rank's shards; weight decay on matrices only
  void zero_moments();

  // "parameters/NAME", "moment1/NAME", "moment2/NAME" in host memory; nothing where the parameters are frozen. What
  // lies on a GPU is copied for it: the copy is kept, and is of the time of the last call.
  std::vector<TensorView> state();
  // After something was written to the views of state().
  void adopt_state();

 private:
  struct Shard {
    at::Tensor weights;                     // [shard] float32; compute dtype where frozen
    at::Tensor moment1, moment2, gradient;  // [shard] float32, trainable only
    at::Tensor compute;                     // [shard] compute dtype: where the weights are offloaded
    at::Tensor reference;                   // [shard] compute dtype
    at::Tensor copy;                        // gathered copy that is kept
  };
  struct Gather {
    int unit;
    Version version;
    at::Tensor whole;  // before the request, which writes to it until it is gone
    std::unique_ptr<comm::Request> request;
  };
  struct Reduction {
    int unit = -1;
    at::Tensor gradient, part;
    std::unique_ptr<comm::Request> request;
  };
  // One of the three tensors that make up the state.
  using Member = at::Tensor Shard::*;
  bool on_gpu() const { return sharding_.device.is_cuda(); }
  at::Tensor zeros(std::int64_t count, at::ScalarType dtype, bool offloaded) const;
  void read_shard(const UnitLayout& layout, const ReadSlice& read, const at::Tensor& weights) const;
  const at::Tensor& source(int unit, Version version) const;
  bool kept(Version version) const;
  void add_views(const std::string& prefix, Member member, std::vector<at::Tensor>& copies,
                 std::vector<TensorView>& views);

  comm::Communicator& communicator_;
  Sharding sharding_;
  std::vector<UnitLayout> layouts_;
  std::vector<Shard> shards_;
  std::deque<Gather> gathers_;  // started, in order
  Reduction reduction_;
  Buffers buffers_;                               // GPUs: of gathered units and their gradients
  std::unique_ptr<gpu::StreamedAdamw> streamed_;  // where masters and moments are offloaded
  std::vector<at::Tensor> host_copies_[3];        // GPUs: of weights and moments, for state()
};

}  // namespace setrl::learn
