// The GPU of this process as the learner uses it beside its arithmetic: memory, time, and AdamW over state that lies in
// host memory. In builds without GPUs each throws BugError.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "learn/kernels.h"

namespace setrl::learn::gpu {

// Zeros in host memory that the GPU copies to and from directly; exactly as large as asked for.
at::Tensor pinned_zeros(std::int64_t count, at::ScalarType dtype);
// Waits for all work of the current device.
void synchronize();

// Of LibTorch's caching allocator on the current device, bytes.
struct DeviceMemory {
  std::int64_t allocated = 0, peak_allocated = 0;  // of tensors
  std::int64_t reserved = 0;                       // taken from the device
};
DeviceMemory device_memory();
void reset_peak_memory();
// Seconds that the GPU takes for what `work` puts on the current stream, by its own clock.
double seconds_of(const std::function<void()>& work);

// AdamW where masters and moments lie in pinned host memory: they come to the device in pieces, are updated by the same
// kernel as everywhere, and go back; on two streams in turn, so that one piece comes while the other goes. This keeps
// the state's bits equal to those of state on the device and the cores free for other ranks' work; the cost is 24 bytes
// over the bus for each parameter of the shard and step.
class StreamedAdamw {
 public:
  explicit StreamedAdamw(at::Device device);
  ~StreamedAdamw();
  // weights, moment1, moment2: pinned, float32; gradient: device, float32; rounded: device, gets the new weights in its
  // dtype. All flat, of one length. Returns before the work is done.
  void update(const at::Tensor& weights, const at::Tensor& moment1, const at::Tensor& moment2,
              const at::Tensor& gradient, const at::Tensor& rounded, const AdamwStep& step);
  // Waits for all updates.
  void finish();

 private:
  struct Lane;
  std::unique_ptr<Lane> lanes_[2];
  std::uint64_t next_ = 0;
};

}  // namespace setrl::learn::gpu
