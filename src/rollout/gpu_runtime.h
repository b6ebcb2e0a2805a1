// The little that the engine on GPUs asks of a device beside its kernels: memory, a stream, matrix products and graphs.
// gpu_cuda_runtime.cpp has the real one; the tests put one of host memory in its place, under the same engine.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "rollout/gpu_kernels.h"

namespace setrl::rollout::gpu {

// Work that was recorded once: the same launches with the same arguments, whatever lies in the memory they point to.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void replay() = 0;
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  virtual at::Device device() const = 0;  // of the tensors that the kernels are given
  virtual Stream stream() const = 0;
  virtual std::int64_t free_bytes() const = 0;
  // Host memory that is copied to and from the device without the host waiting.
  virtual at::Tensor pinned(std::int64_t bytes) const = 0;

  // Runs `work` with this stream as the one that LibTorch puts its work on.
  virtual void on_stream(const std::function<void()>& work) = 0;
  // out [m, n] = a [m, k] * b [n, k]^T, summed in float32; a and b of one storage type, out float32, all contiguous.
  virtual void product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out) = 0;
  // How many bytes of a sum over ranks are worth a collective of their own, beside the product of the next ones.
  virtual std::int64_t sum_part_bytes() const = 0;
  // Records what `work` puts on the stream, without running it; null where this runtime has no graphs.
  virtual std::unique_ptr<Graph> capture(const std::function<void()>& work) = 0;
  virtual void wait() = 0;          // for what is on the stream; throws what went wrong there
  virtual void wait_for_all() = 0;  // for everything on the device
};

// `collectives`: the passes communicate with other GPUs, from the default stream, which graphs cannot record.
std::unique_ptr<Runtime> make_runtime(at::Device device, bool collectives);

}  // namespace setrl::rollout::gpu
