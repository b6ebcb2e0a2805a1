// Where things lie in a page of the cache, and how storage types are read and written many at once. For *.cu only.
#pragma once

#include <cstring>

#include "base/cuda_kernel.h"
#include "rollout/gpu_kernels.h"

namespace setrl::rollout::gpu {

// Elements of a 16-byte load.
template <typename T>
constexpr int kVector = kVectorBytes / static_cast<int>(sizeof(T));

template <typename T>
__host__ __device__ __forceinline__ std::int64_t padded_size(std::int64_t head_size) {
  return (head_size + kVector<T> - 1) / kVector<T> * kVector<T>;
}

__device__ __forceinline__ std::int64_t page_of(const PageTable& table, std::int64_t row, std::int64_t position) {
  return table.pages[table.page_begin[row] + position / kPage];
}

template <typename T>
__device__ __forceinline__ T* keys_of(const Cache& cache, std::int64_t page, std::int64_t layer, std::int64_t head) {
  const std::int64_t of_head = 2 * kPage * padded_size<T>(cache.head_size);
  return static_cast<T*>(cache.data) + page * cache.page_elements + (layer * cache.kv_heads + head) * of_head;
}
template <typename T>
__device__ __forceinline__ T* values_of(const Cache& cache, std::int64_t page, std::int64_t layer, std::int64_t head) {
  return keys_of<T>(cache, page, layer, head) + kPage * padded_size<T>(cache.head_size);
}
// Of dimension d of the key at place `slot` of its page.
template <typename T>
__device__ __forceinline__ std::int64_t key_index(std::int64_t slot, std::int64_t d) {
  return (d / kVector<T> * kPage + slot) * kVector<T> + d % kVector<T>;
}

__device__ __forceinline__ float bits_to_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// 16 bytes as floats.
__device__ __forceinline__ void load_vector(const float* from, float (&to)[4]) {
  const float4 x = *reinterpret_cast<const float4*>(from);
  to[0] = x.x;
  to[1] = x.y;
  to[2] = x.z;
  to[3] = x.w;
}
__device__ __forceinline__ void load_vector(const __nv_bfloat16* from, float (&to)[8]) {
  const uint4 words = *reinterpret_cast<const uint4*>(from);
  const unsigned all[4] = {words.x, words.y, words.z, words.w};
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = bits_to_float(all[i] << 16);
    to[2 * i + 1] = bits_to_float(all[i] & 0xffff0000u);
  }
}

// Four neighbours, at a place that is aligned for them.
__device__ __forceinline__ void store_four(float* to, float a, float b, float c, float d) {
  *reinterpret_cast<float4*>(to) = {a, b, c, d};
}
__device__ __forceinline__ void store_four(__nv_bfloat16* to, float a, float b, float c, float d) {
  struct alignas(8) Four {
    __nv_bfloat16 x[4];
  };
  *reinterpret_cast<Four*>(to) = {{cuda::from_float<__nv_bfloat16>(a), cuda::from_float<__nv_bfloat16>(b),
                                   cuda::from_float<__nv_bfloat16>(c), cuda::from_float<__nv_bfloat16>(d)}};
}

}  // namespace setrl::rollout::gpu
