#include "base/cuda_kernel.h"
#include "cuda_kernels.h"

namespace setrl::selftest {

namespace {

__global__ void row_sums_kernel(const float* x, int width, float* out) {
  __shared__ float scratch[cuda::kWarp];
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) {
    sum += x[static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(width) + static_cast<std::size_t>(i)];
  }
  sum = cuda::block_sum(sum, scratch);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

__global__ void reverse_kernel(const float* x, int n, bool barrier, float* out) {
  float* shared = cuda::dynamic_shared<float>();
  const int i = static_cast<int>(threadIdx.x);
  shared[i] = x[i];
  if (barrier) __syncthreads();
  out[i] = shared[n - 1 - i];
}

__global__ void diverge_kernel() {
  if (threadIdx.x % 2 == 0) __syncthreads();
}

__global__ void round_trip_kernel(const float* x, int n, float* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = cuda::to_float(cuda::from_float<__nv_bfloat16>(x[i]));
}

}  // namespace

void row_sums(const float* x, int blocks, int width, int threads, float* out) {
  cuda::launch(row_sums_kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), 0, nullptr, x,
               width, out);
}

void reverse(const float* x, int n, bool barrier, float* out) {
  cuda::launch(reverse_kernel, dim3(1), dim3(static_cast<unsigned>(n)), static_cast<std::size_t>(n) * sizeof(float),
               nullptr, x, n, barrier, out);
}

void diverge() {
  cuda::launch(diverge_kernel, dim3(1), dim3(64), 0, nullptr);
}

void round_trip(const float* x, int n, float* out) {
  cuda::launch(round_trip_kernel, dim3(static_cast<unsigned>((n + 63) / 64)), dim3(64), 0, nullptr, x, n, out);
}

}  // namespace setrl::selftest
