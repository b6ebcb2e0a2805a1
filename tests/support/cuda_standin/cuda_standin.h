// A stand-in for a GPU, for tests on machines without one: the names that kernels use (src/base/cuda_kernel.h), and a
// launch that runs the blocks of a grid one after another and the threads of a block in turn, each on a stack of its
// own. A thread runs until it waits (__syncthreads, a shuffle) or ends. What a GPU would leave undefined is an error
// here: a barrier that some threads of the block or lanes of the warp never reach. Streams are ignored: a launch is done
// when it returns. It says nothing about speed, nor about what the memory model leaves open between two barriers; for
// the latter, tests run in both orders (set_order) and compare.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __align__(bytes) alignas(bytes)
// One block runs at a time.
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};

struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};

using cudaStream_t = struct CudaStandinStream*;
enum cudaError_t { cudaSuccess = 0 };
inline const char* cudaGetErrorString(cudaError_t) {
  return "no error";
}

namespace cuda_standin {

struct Place {
  dim3 thread, block, block_size, grid;
};
enum class Order { forward, backward };

// Of the threads within a block, from the next launch on. Default: forward.
void set_order(Order order);
// Throws std::logic_error where threads wait for others that never come, and what the body throws.
void run(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body);

// For the running thread.
const Place& place();
void* dynamic_shared();  // filled with bytes 0xff when a block starts
void block_barrier();
constexpr std::size_t kMostExchanged = 16;  // bytes a lane
// Every lane of the warp gives `bytes` bytes and sees those of all ([32][kMostExchanged]) in `all` until the next call.
void warp_exchange(unsigned mask, const void* mine, std::size_t bytes, const unsigned char** all);
unsigned lane();

template <typename T>
T from_lane(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= kMostExchanged);
  const unsigned char* all = nullptr;
  warp_exchange(mask, &value, sizeof value, &all);
  T result;
  std::memcpy(&result, all + source % 32 * kMostExchanged, sizeof result);
  return result;
}

}  // namespace cuda_standin

#define threadIdx (cuda_standin::place().thread)
#define blockIdx (cuda_standin::place().block)
#define blockDim (cuda_standin::place().block_size)
#define gridDim (cuda_standin::place().grid)

inline void __syncthreads() {
  cuda_standin::block_barrier();
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  cuda_standin::from_lane(mask, 0, cuda_standin::lane());
}
inline void __threadfence() {}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source) {
  return cuda_standin::from_lane(mask, value, static_cast<unsigned>(source));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return cuda_standin::from_lane(mask, value, cuda_standin::lane() ^ static_cast<unsigned>(lanes));
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
  const unsigned own = cuda_standin::lane();
  return cuda_standin::from_lane(mask, value, own + distance < 32 ? own + distance : own);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance) {
  const unsigned own = cuda_standin::lane();
  return cuda_standin::from_lane(mask, value, own >= distance ? own - distance : own);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  unsigned result = 0;
  const unsigned char* all = nullptr;
  const unsigned char mine = predicate != 0 ? 1 : 0;
  cuda_standin::warp_exchange(mask, &mine, 1, &all);
  for (unsigned i = 0; i < 32; ++i) result |= static_cast<unsigned>(all[i * cuda_standin::kMostExchanged] & 1u) << i;
  return result;
}

template <typename T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at = before + value;
  return before;
}
template <typename T>
T atomicMax(T* at, T value) {
  const T before = *at;
  if (value > before) *at = value;
  return before;
}
template <typename T>
T atomicExch(T* at, T value) {
  const T before = *at;
  *at = value;
  return before;
}

template <typename T>
T __ldg(const T* at) {
  return *at;
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}
using std::exp;
using std::fmax;
using std::fmin;
using std::isfinite;
using std::log;

struct __nv_bfloat16 {
  std::uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return {0x7fff};
  bits += 0x7fffu + (bits >> 16 & 1u);
  return {static_cast<std::uint16_t>(bits >> 16)};
}
