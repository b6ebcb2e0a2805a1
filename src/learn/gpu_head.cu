#include "learn/gpu_kernels.h"
#include "learn/gpu_pack_impl.h"

namespace setrl::learn::gpu {

namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kSpan = 8192;  // logits of a row that a block turns into gradients

// A softmax under way over some logits: with z = (logit - largest) / temperature, sums of exp(z) and of exp(z) z.
struct Partial {
  float largest, sum, weighted;  // sum 0: none yet
};

// Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", with the entropy's sum beside it.
__device__ __forceinline__ Partial merge(const Partial& a, const Partial& b, float inverse_temperature) {
  if (a.sum == 0) return b;
  if (b.sum == 0) return a;
  const float largest = fmaxf(a.largest, b.largest);
  const float down_a = (largest - a.largest) * inverse_temperature, keep_a = expf(-down_a);
  const float down_b = (largest - b.largest) * inverse_temperature, keep_b = expf(-down_b);
  return {largest, keep_a * a.sum + keep_b * b.sum,
          keep_a * (a.weighted - down_a * a.sum) + keep_b * (b.weighted - down_b * b.sum)};
}

__device__ __forceinline__ Partial merge_warp(Partial mine, float inverse_temperature) {
  for (int distance = cuda::kWarp / 2; distance > 0; distance /= 2) {
    Partial other;
    other.largest = __shfl_xor_sync(cuda::kAllLanes, mine.largest, distance);
    other.sum = __shfl_xor_sync(cuda::kAllLanes, mine.sum, distance);
    other.weighted = __shfl_xor_sync(cuda::kAllLanes, mine.weighted, distance);
    mine = merge(mine, other, inverse_temperature);
  }
  return mine;
}

template <typename T, int N>
__global__ void softmax_stats_kernel(const T* logits, std::int64_t vocabulary, const std::int32_t* targets,
                                     float inverse_temperature, RowStats* stats) {
  __shared__ float warps[kThreads / cuda::kWarp][3];
  const std::int64_t row = blockIdx.x;
  const T* in = logits + row * vocabulary;
  Partial mine{0, 0, 0};
  for (std::int64_t i = static_cast<std::int64_t>(threadIdx.x) * N; i < vocabulary;
       i += static_cast<std::int64_t>(blockDim.x) * N) {
    float x[N];
    load<N>(in + i, x);
    Partial part{x[0], 0, 0};
#pragma unroll
    for (int j = 1; j < N; ++j) part.largest = fmaxf(part.largest, x[j]);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float z = (x[j] - part.largest) * inverse_temperature, e = expf(z);
      part.sum += e;
      part.weighted += e * z;
    }
    mine = merge(mine, part, inverse_temperature);
  }
  mine = merge_warp(mine, inverse_temperature);
  const unsigned warp = threadIdx.x / cuda::kWarp;
  if (threadIdx.x % cuda::kWarp == 0) {
    warps[warp][0] = mine.largest;
    warps[warp][1] = mine.sum;
    warps[warp][2] = mine.weighted;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int other = 1; other < kThreads / cuda::kWarp; ++other) {
    mine = merge(mine, Partial{warps[other][0], warps[other][1], warps[other][2]}, inverse_temperature);
  }
  const float log_sum = logf(mine.sum);
  RowStats result;
  result.lse = mine.largest * inverse_temperature + log_sum;
  result.logprob = (cuda::to_float(in[targets[row]]) - mine.largest) * inverse_temperature - log_sum;
  result.entropy = log_sum - mine.weighted / mine.sum;
  stats[row] = result;
}

template <typename T, int N>
__global__ void softmax_gradient_kernel(T* logits, std::int64_t vocabulary, const std::int32_t* targets,
                                        float inverse_temperature, const RowStats* stats, const float* gradients) {
  const std::int64_t row = blockIdx.x, begin = blockIdx.y * kSpan;
  const std::int64_t end = begin + kSpan < vocabulary ? begin + kSpan : vocabulary;
  T* in = logits + row * vocabulary;
  const float scale = gradients[row] * inverse_temperature, lse = stats[row].lse;
  const std::int64_t target = targets[row];
  for (std::int64_t i = begin + static_cast<std::int64_t>(threadIdx.x) * N; i < end;
       i += static_cast<std::int64_t>(blockDim.x) * N) {
    float x[N];
    load<N>(in + i, x);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float p = expf(x[j] * inverse_temperature - lse);
      x[j] = i + j == target ? scale * (1.0f - p) : -scale * p;
    }
    store<N>(in + i, x);
  }
}

}  // namespace

template <typename T>
void softmax_stats(const T* logits, std::int64_t rows, std::int64_t vocabulary, const std::int32_t* targets,
                   float inverse_temperature, RowStats* stats, Stream stream) {
  using D = typename OnDevice<T>::type;
  with_width<D>({logits}, {vocabulary}, [&](auto width) {
    cuda::launch(softmax_stats_kernel<D, decltype(width)::value>, dim3(blocks(rows, 1)), dim3(kThreads), 0,
                 stream_of(stream), on_device(logits), vocabulary, targets, inverse_temperature, stats);
  });
}

template <typename T>
void softmax_gradient(T* logits, std::int64_t rows, std::int64_t vocabulary, const std::int32_t* targets,
                      float inverse_temperature, const RowStats* stats, const float* gradients, Stream stream) {
  using D = typename OnDevice<T>::type;
  with_width<D>({logits}, {vocabulary}, [&](auto width) {
    cuda::launch(softmax_gradient_kernel<D, decltype(width)::value>, dim3(blocks(rows, 1), blocks(vocabulary, kSpan)),
                 dim3(kThreads), 0, stream_of(stream), on_device(logits), vocabulary, targets, inverse_temperature,
                 stats, gradients);
  });
}

#define SETRL_INSTANTIATE(T)                                                                                           \
  template void softmax_stats<T>(const T*, std::int64_t, std::int64_t, const std::int32_t*, float, RowStats*, Stream); \
  template void softmax_gradient<T>(T*, std::int64_t, std::int64_t, const std::int32_t*, float, const RowStats*,       \
                                    const float*, Stream);
SETRL_INSTANTIATE(float)
SETRL_INSTANTIATE(Bfloat16)
#undef SETRL_INSTANTIATE

}  // namespace setrl::learn::gpu
