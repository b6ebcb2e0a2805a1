// One forward pass on a GPU: Forward's arithmetic (residual stream, norms, RoPE, softmax and logits in float32, matrix
// products of the storage type summed in float32) as a sequence of launches. Passes that only decode are recorded as a
// CUDA graph for each of their shapes and replayed.
//
// What the host does in a pass: it writes the plan into pinned memory and copies it, starts the launches or the graph,
// copies the drawn tokens back and waits once. It needs the tokens of a pass before the next one, for stop rules,
// forced tokens and pages; logits and everything else stay on the device.
//
// With tensor parallelism the sums over the ranks are queued among the launches (gpu_rank_sums.h): no graphs.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "rollout/batch.h"
#include "rollout/gpu_kv_cache.h"
#include "rollout/gpu_pass_plan.h"
#include "rollout/gpu_rank_sums.h"
#include "rollout/gpu_weights.h"

namespace setrl::rollout::gpu {

class GpuForward {
 public:
  // Makes its buffers for passes of `rows` rows and `logit_rows` rows of logits; larger ones make them anew.
  GpuForward(Runtime& runtime, const GpuWeights& weights, bool bf16, std::int64_t rows, std::int64_t logit_rows);

  // As ModelRunner has it; `cache`: always the same.
  void run(const Batch& batch, GpuKvCache& cache, std::vector<Drawn>& results);

  std::int64_t graphs() const;  // recorded so far

 private:
  struct Buffers {
    at::Tensor residual, sum;                 // [M, E] float32; sum: what a projection adds to it, in parts
    at::Tensor qkv, gate_up;                  // [M, (H + 2 N) D], [M, 2 I] float32
    at::Tensor normed, attended, inner;       // [M, E], [M, H D], [M, I] of the storage type
    at::Tensor last_residual, last_attended;  // [L, ..]: of the rows whose logits are wanted
    at::Tensor local_logits, gathered;        // [L, V / ranks] of this rank, [ranks, L, V / ranks]
    at::Tensor logits;                        // [L, V] float32
    at::Tensor plan, results;                 // bytes
    at::Tensor partial_out, partial_max, partial_sum;
    at::Tensor cos, sin;  // [positions, D/2]
  };
  // A shape is recorded when it comes a second time: the first pass makes the libraries ready.
  struct Recorded {
    int passes = 0;
    std::unique_ptr<Graph> graph;
  };

  void make_buffers();
  void reserve(const PassPlan& plan);
  void grow_rope(std::int64_t positions);
  void launch(const PassShape& shape, const GpuKvCache& cache);
  // Depends on `shape` and on what never changes alone: everything else is read on the device.
  void enqueue(const PassShape& shape, const Cache& cache);
  void finish_layer(std::int64_t layer, std::int64_t rows, const at::Tensor& residual, const at::Tensor& attended);
  void make_logits(std::int64_t rows);
  template <typename T>
  const T* planned(std::int64_t offset) const;

  Runtime& runtime_;
  const GpuWeights& weights_;
  const model::ModelSpec& spec_;  // this rank's part
  RankSums sums_;
  const bool bf16_;
  PassPlan plan_;
  std::int64_t rows_ = 0, logit_rows_ = 0, partials_ = 0, draws_ = 0;  // what the buffers hold
  Buffers buffers_;
  at::Tensor host_plan_, host_results_;  // pinned
  std::map<PassShape, Recorded> recorded_;
};

}  // namespace setrl::rollout::gpu
