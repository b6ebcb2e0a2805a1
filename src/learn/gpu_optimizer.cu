#include "learn/gpu_kernels.h"
#include "learn/gpu_pack_impl.h"

namespace setrl::learn::gpu {

namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kSpan = 65536;  // numbers whose squares a block adds up

template <int N>
__global__ void adamw_kernel(float* weight, float* moment1, float* moment2, const float* gradient, std::int64_t count,
                             AdamwStep step) {
  const std::int64_t i = thread_of_grid() * N;
  if (i >= count) return;
  const float keep = 1.0f - step.learning_rate * step.weight_decay;
  const float rate = step.learning_rate / step.correction1;
  const float root = 1.0f / sqrtf(step.correction2);
  float w[N], m[N], v[N], g[N];
  load<N>(weight + i, w);
  load<N>(moment1 + i, m);
  load<N>(moment2 + i, v);
  load<N>(gradient + i, g);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float scaled = g[j] * step.gradient_scale;
    m[j] = m[j] + (scaled - m[j]) * (1.0f - step.beta1);
    v[j] = v[j] * step.beta2 + scaled * scaled * (1.0f - step.beta2);
    w[j] = w[j] * keep - rate * m[j] / (sqrtf(v[j]) * root + step.epsilon);
  }
  store<N>(weight + i, w);
  store<N>(moment1 + i, m);
  store<N>(moment2 + i, v);
}

__global__ void sum_of_squares_kernel(const float* x, std::int64_t count, double* parts) {
  __shared__ double sums[kThreads];
  const std::int64_t begin = blockIdx.x * kSpan, end = begin + kSpan < count ? begin + kSpan : count;
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const double value = x[i];
    sum += value * value;
  }
  sums[threadIdx.x] = sum;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) parts[blockIdx.x] = sums[0];
}

}  // namespace

void adamw(float* weight, float* moment1, float* moment2, const float* gradient, std::int64_t count,
           const AdamwStep& step, Stream stream) {
  const auto run = [&](auto width, std::int64_t begin, std::int64_t numbers) {
    constexpr int n = decltype(width)::value;
    cuda::launch(adamw_kernel<n>, dim3(blocks(numbers / n, kThreads)), dim3(kThreads), 0, stream_of(stream),
                 weight + begin, moment1 + begin, moment2 + begin, gradient + begin, numbers, step);
  };
  with_width<float>({weight, moment1, moment2, gradient}, {}, [&](auto width) {
    const std::int64_t packed = count / decltype(width)::value * decltype(width)::value;
    run(width, 0, packed);
    run(Width<1>{}, packed, count - packed);
  });
}

std::int64_t square_parts(std::int64_t count) {
  return (count + kSpan - 1) / kSpan;
}

void sum_of_squares(const float* x, std::int64_t count, double* parts, Stream stream) {
  cuda::launch(sum_of_squares_kernel, dim3(blocks(count, kSpan)), dim3(kThreads), 0, stream_of(stream), x, count,
               parts);
}

}  // namespace setrl::learn::gpu
