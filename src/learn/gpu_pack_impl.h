// What the GPU kernels (*.cu) of this module share: element types, and neighbouring numbers that are read at once.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <type_traits>

#include "base/cuda_kernel.h"
#include "learn/kernels.h"

namespace setrl::learn::gpu {
namespace {

template <typename T>
struct OnDevice {
  using type = T;
};
template <>
struct OnDevice<Bfloat16> {
  using type = __nv_bfloat16;
};

// The same memory as the kernels see it.
template <typename T>
auto* on_device(T* data) {
  using Plain = typename OnDevice<std::remove_const_t<T>>::type;
  return reinterpret_cast<std::conditional_t<std::is_const_v<T>, const Plain, Plain>*>(data);
}

template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T values[N];
};

template <int N, typename T>
__device__ __forceinline__ void load(const T* from, float (&to)[N]) {
  const auto pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = cuda::to_float(pack.values[i]);
}
template <int N, typename T>
__device__ __forceinline__ void store(T* to, const float (&from)[N]) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.values[i] = cuda::from_float<T>(from[i]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// Calls body(Width<N>) with the most numbers of T that can be read at once: pointers and offsets (in numbers) allow it.
template <int N>
struct Width {
  static constexpr int value = N;
};
template <typename T, typename Body>
void with_width(std::initializer_list<const void*> pointers, std::initializer_list<std::int64_t> offsets,
                const Body& body) {
  constexpr int kMost = 16 / static_cast<int>(sizeof(T));
  bool wide = true;
  for (const void* pointer : pointers) wide = wide && reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
  for (const std::int64_t offset : offsets) wide = wide && offset % kMost == 0;
  if (wide)
    body(Width<kMost>{});
  else
    body(Width<1>{});
}

inline unsigned blocks(std::int64_t count, std::int64_t per_block) {
  const std::int64_t result = (count + per_block - 1) / per_block;
  if (result > 0x7fffffff) throw std::logic_error("a GPU kernel is asked for more blocks than a grid has");
  return static_cast<unsigned>(result);
}

inline cudaStream_t stream_of(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

__device__ __forceinline__ std::int64_t thread_of_grid() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

}  // namespace
}  // namespace setrl::learn::gpu
