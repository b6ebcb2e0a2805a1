// What the ranks of a tensor-parallel engine on GPUs make together, put among the launches of a pass: the host goes on
// at once, and asks at the end of the pass how it went. The columns of a projection are cut into parts, so that one
// part is summed over the ranks while the product of the next one runs; every weight is still read once.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "rollout/gpu_runtime.h"

namespace setrl::rollout::gpu {

class RankSums {
 public:
  // `comm`: null where there is one rank, whose results are the sums. Both must outlive this.
  RankSums(Runtime& runtime, comm::Communicator* comm) : runtime_(runtime), comm_(comm) {}
  ~RankSums();

  bool alone() const { return comm_ == nullptr; }
  // values [rows, columns] float32, in place.
  void add(const at::Tensor& values);
  // out [parts, rows, E / parts] = the sum over the ranks of a [rows, K] * b [E, K]^T; out: rows * E floats.
  Addend project(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out);
  // out [ranks, ..] = the `mine` of every rank.
  void gather(const at::Tensor& mine, const at::Tensor& out);
  // Until all of this is done; throws what went wrong, with the communicator's deadline.
  void wait();

 private:
  std::int64_t parts(std::int64_t rows, std::int64_t columns) const;
  void start_sum(const at::Tensor& values);

  Runtime& runtime_;
  comm::Communicator* const comm_;
  // Of this pass. They are served in this order: whoever has waited for the last has waited for all.
  std::vector<std::unique_ptr<comm::Request>> requests_;
};

}  // namespace setrl::rollout::gpu
