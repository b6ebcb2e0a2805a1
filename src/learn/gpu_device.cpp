// Compiled in builds for GPUs only.
#include "learn/gpu_device.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "learn/gpu_ops.h"
#include "learn/gpu_stream.h"

namespace setrl::learn::gpu {

namespace {

constexpr std::int64_t kPiece = std::int64_t{8} << 20;  // parameters that are updated at once

void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw BugError(fmt::format("{} failed: {}", what, cudaGetErrorString(code)));
}

c10::CachingDeviceAllocator::DeviceStats allocator_stats() {
  return c10::cuda::CUDACachingAllocator::getDeviceStats(c10::cuda::current_device());
}

}  // namespace

Stream current_stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}

at::Tensor pinned_zeros(std::int64_t count, at::ScalarType dtype) {
  // Not LibTorch's allocator of pinned memory, which rounds up to powers of two.
  const std::size_t bytes = static_cast<std::size_t>(count) * c10::elementSize(dtype);
  void* memory = nullptr;
  const cudaError_t code = cudaHostAlloc(&memory, std::max<std::size_t>(bytes, 1), cudaHostAllocPortable);
  if (code != cudaSuccess) {
    throw_user_error("the host has no {:.2f} GB of memory that can be pinned for the learner's state: {}",
                     static_cast<double>(bytes) / 1e9, cudaGetErrorString(code));
  }
  std::memset(memory, 0, bytes);
  return at::from_blob(
      memory, {count}, [](void* pointer) { cudaFreeHost(pointer); }, at::TensorOptions().dtype(dtype));
}

void synchronize() {
  check(cudaDeviceSynchronize(), "the work of the GPU");
}

DeviceMemory device_memory() {
  const auto stats = allocator_stats();
  const auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  DeviceMemory memory;
  memory.allocated = stats.allocated_bytes[all].current;
  memory.peak_allocated = stats.allocated_bytes[all].peak;
  memory.reserved = stats.reserved_bytes[all].current;
  return memory;
}

void reset_peak_memory() {
  c10::cuda::CUDACachingAllocator::resetPeakStats(c10::cuda::current_device());
}

double seconds_of(const std::function<void()>& work) {
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  const auto stream = c10::cuda::getCurrentCUDAStream().stream();
  check(cudaEventRecord(begin, stream), "cudaEventRecord");
  work();
  check(cudaEventRecord(end, stream), "cudaEventRecord");
  check(cudaEventSynchronize(end), "the work of the GPU");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return milliseconds / 1e3;
}

// Its pieces follow each other on its stream, so its memory is free again when the next one comes.
struct StreamedAdamw::Lane {
  explicit Lane(at::Device device)
      : stream(c10::cuda::getStreamFromPool(false, device.index())),
        memory(at::empty({3, kPiece}, at::TensorOptions().dtype(at::kFloat).device(device))) {}
  c10::cuda::CUDAStream stream;
  at::Tensor memory;
};

StreamedAdamw::StreamedAdamw(at::Device device) {
  for (auto& lane : lanes_) lane = std::make_unique<Lane>(device);
}

StreamedAdamw::~StreamedAdamw() = default;

void StreamedAdamw::update(const at::Tensor& weights, const at::Tensor& moment1, const at::Tensor& moment2,
                           const at::Tensor& gradient, const at::Tensor& rounded, const AdamwStep& step) {
  // The gradient is complete. Its norm was read before, so this waits for nothing in general.
  c10::cuda::getCurrentCUDAStream().synchronize();
  for (std::int64_t begin = 0; begin < weights.numel(); begin += kPiece) {
    const std::int64_t count = std::min(kPiece, weights.numel() - begin);
    Lane& lane = *lanes_[next_++ % 2];
    const c10::cuda::CUDAStreamGuard guard(lane.stream);
    const at::Tensor host[3] = {weights.narrow(0, begin, count), moment1.narrow(0, begin, count),
                                moment2.narrow(0, begin, count)};
    at::Tensor there[3];
    for (int i = 0; i < 3; ++i) {
      there[i] = lane.memory.select(0, i).narrow(0, 0, count);
      there[i].copy_(host[i], true);
    }
    gpu::adamw(there[0], there[1], there[2], gradient.narrow(0, begin, count), step);
    gpu::from_float(there[0], rounded.narrow(0, begin, count));
    for (int i = 0; i < 3; ++i) host[i].copy_(there[i], true);
  }
}

void StreamedAdamw::finish() {
  for (auto& lane : lanes_) lane->stream.synchronize();
}

}  // namespace setrl::learn::gpu
