// What a file of GPU kernels (*.cu) includes. nvcc compiles it for the devices; the tests compile the same file for the
// host, against a stand-in that runs the threads of a block in turn (tests/support/cuda_standin). So a kernel keeps to
// what both know: blocks that do not wait for each other, __syncthreads, whole-warp shuffles, atomics.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#else
#include <cuda_standin.h>
#endif

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace setrl::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr std::size_t kStaticShared = 48 * 1024;  // more shared memory of a block has to be asked for

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

// The block's shared memory of the size given to launch().
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(16) unsigned char setrl_dynamic_shared[];
  return reinterpret_cast<T*>(setrl_dynamic_shared);
#else
  return static_cast<T*>(cuda_standin::dynamic_shared());
#endif
}

// Puts a kernel on the stream. Throws where it cannot be started; errors while it runs show at a later call.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
            const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#ifdef __CUDACC__
  if (shared_bytes > kStaticShared) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
          "shared memory of a kernel");
  }
  kernel<<<grid, block, shared_bytes, stream>>>(arguments...);
  check(cudaGetLastError(), "start of a kernel");
#else
  (void)stream;
  cuda_standin::run(grid, block, shared_bytes, [&] { kernel(arguments...); });
#endif
}

template <typename T>
__device__ __forceinline__ float to_float(T value) {
  return static_cast<float>(value);
}
template <>
__device__ __forceinline__ float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

// Rounds to the nearest, ties to even.
template <typename T>
__device__ __forceinline__ T from_float(float value) {
  return static_cast<T>(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float(float value) {
  return __float2bfloat16_rn(value);
}

// Over the 32 lanes of a warp, all of which call it; every lane gets the same bits.
__device__ __forceinline__ float warp_sum(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}
__device__ __forceinline__ float warp_max(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// Over a one-dimensional block of whole warps, all of whose threads call it; every thread gets the same bits. `scratch`:
// 32 floats of shared memory, free to be used again at once.
__device__ __forceinline__ float block_sum(float value, float* scratch) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = warp_sum(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = warp_sum(lane < warps ? scratch[lane] : 0.0f);
  __syncthreads();
  return value;
}
__device__ __forceinline__ float block_max(float value, float* scratch) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = warp_max(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = warp_max(scratch[lane < warps ? lane : 0]);
  __syncthreads();
  return value;
}

}  // namespace setrl::cuda
