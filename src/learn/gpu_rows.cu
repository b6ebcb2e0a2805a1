#include <algorithm>

#include "learn/gpu_kernels.h"
#include "learn/gpu_pack_impl.h"

namespace setrl::learn::gpu {

namespace {

constexpr int kThreads = 256;
constexpr int kTeams = 4;                  // warps of a block, where each has a vector of its own
constexpr std::int64_t kWarpWidth = 1024;  // wider vectors take a block
constexpr std::int64_t kRowsPerPart = 32;  // at least, ...
constexpr std::int64_t kMostParts = 512;   // ... and more where there would be more parts

std::int64_t rows_per_part(std::int64_t rows) {
  return std::max(kRowsPerPart, (rows + kMostParts - 1) / kMostParts);
}

template <bool kWarpTeam>
__device__ __forceinline__ float team_sum(float value, float* scratch) {
  return kWarpTeam ? cuda::warp_sum(value) : cuda::block_sum(value, scratch);
}

__device__ __forceinline__ std::int64_t begin_of(const Vectors& shape, std::int64_t vector) {
  return vector / shape.heads * shape.stride + vector % shape.heads * shape.width;
}

// threadIdx.x: within the team; threadIdx.y: which team.
template <typename T, int N, bool kWarpTeam>
__global__ void rms_norm_kernel(Vectors shape, std::int64_t count, const T* x, const T* weight, float epsilon, T* out,
                                float* rstd) {
  __shared__ float scratch[cuda::kWarp];
  const std::int64_t vector = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (vector >= count) return;  // a whole team
  const std::int64_t at = begin_of(shape, vector);
  const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * N;
  float in[N], w[N];
  float sum = 0;
  for (std::int64_t i = static_cast<std::int64_t>(threadIdx.x) * N; i < shape.width; i += step) {
    load<N>(x + at + i, in);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += in[j] * in[j];
  }
  sum = team_sum<kWarpTeam>(sum, scratch);
  const float scale = 1.0f / sqrtf(sum / static_cast<float>(shape.width) + epsilon);
  if (threadIdx.x == 0) rstd[vector] = scale;
  for (std::int64_t i = static_cast<std::int64_t>(threadIdx.x) * N; i < shape.width; i += step) {
    load<N>(x + at + i, in);
    load<N>(weight + i, w);
#pragma unroll
    for (int j = 0; j < N; ++j) in[j] = in[j] * scale * w[j];
    store<N>(out + at + i, in);
  }
}

// A block makes one part of the weight's gradient: each team adds up its vectors in shared memory, every thread its own
// columns, and the teams are added in their order.
template <typename T, int N, bool kWarpTeam>
__global__ void rms_norm_backward_kernel(Vectors shape, std::int64_t count, std::int64_t per_part, const T* x,
                                         const T* weight, const float* rstd, const T* dy, const T* residual, T* dx,
                                         float* parts) {
  __shared__ float scratch[cuda::kWarp];
  float* sums = cuda::dynamic_shared<float>();  // [teams, width], where there are parts
  float* mine = sums + threadIdx.y * shape.width;
  const std::int64_t start = static_cast<std::int64_t>(threadIdx.x) * N,
                     step = static_cast<std::int64_t>(blockDim.x) * N;
  if (parts != nullptr) {
    for (std::int64_t i = start; i < shape.width; i += step) {
#pragma unroll
      for (int j = 0; j < N; ++j) mine[i + j] = 0;
    }
  }
  const std::int64_t first = blockIdx.x * per_part, last = first + per_part < count ? first + per_part : count;
  float in[N], up[N], w[N], add[N];
  for (std::int64_t vector = first + threadIdx.y; vector < last; vector += blockDim.y) {
    const std::int64_t at = begin_of(shape, vector);
    const float scale = rstd[vector];
    float dot = 0;
    for (std::int64_t i = start; i < shape.width; i += step) {
      load<N>(x + at + i, in);
      load<N>(dy + at + i, up);
      load<N>(weight + i, w);
#pragma unroll
      for (int j = 0; j < N; ++j) dot += in[j] * up[j] * w[j];
    }
    dot = team_sum<kWarpTeam>(dot, scratch);
    const float mean = dot * scale * scale / static_cast<float>(shape.width);
    for (std::int64_t i = start; i < shape.width; i += step) {
      load<N>(x + at + i, in);
      load<N>(dy + at + i, up);
      load<N>(weight + i, w);
      if (residual != nullptr) load<N>(residual + at + i, add);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        if (parts != nullptr) mine[i + j] += in[j] * scale * up[j];
        const float gradient = scale * (up[j] * w[j] - in[j] * mean);
        up[j] = residual != nullptr ? add[j] + gradient : gradient;
      }
      store<N>(dx + at + i, up);
    }
  }
  if (parts == nullptr) return;
  __syncthreads();
  for (std::int64_t column = threadIdx.y * blockDim.x + threadIdx.x; column < shape.width;
       column += blockDim.x * blockDim.y) {
    float sum = 0;
    for (unsigned team = 0; team < blockDim.y; ++team) sum += sums[team * shape.width + column];
    parts[blockIdx.x * shape.width + column] = sum;
  }
}

__global__ void add_parts_kernel(const float* parts, std::int64_t count, std::int64_t width, float* sum) {
  const std::int64_t column = thread_of_grid();
  if (column >= width) return;
  float total = 0;
  for (std::int64_t part = 0; part < count; ++part) total += parts[part * width + column];
  sum[column] += total;
}

template <typename T, int N>
__global__ void rope_kernel(Vectors shape, T* x, const float* cos, const float* sin, float direction) {
  const std::int64_t half = shape.width / 2, packs = half / N, row = blockIdx.x;
  const float* c = cos + row * shape.width;
  const float* s = sin + row * shape.width;
  for (std::int64_t k = threadIdx.x; k < shape.heads * packs; k += blockDim.x) {
    const std::int64_t i = k % packs * N;
    T* low = x + row * shape.stride + k / packs * shape.width + i;
    float a[N], b[N];
    load<N>(low, a);
    load<N>(low + half, b);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float turn = direction * s[i + j], keep = c[i + j], first = a[j], second = b[j];
      a[j] = first * keep - second * turn;
      b[j] = second * keep + first * turn;
    }
    store<N>(low, a);
    store<N>(low + half, b);
  }
}

// d_out null: forward. Else gate_up becomes its gradient.
template <typename T, int N, bool kBackward>
__global__ void swiglu_kernel(const T* gate_up, const T* d_out, std::int64_t inner, T* out, T* d_gate_up) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t at = row * 2 * inner;
  for (std::int64_t i = static_cast<std::int64_t>(threadIdx.x) * N; i < inner;
       i += static_cast<std::int64_t>(blockDim.x) * N) {
    float gate[N], up[N], d[N], result[N];
    load<N>(gate_up + at + i, gate);
    load<N>(gate_up + at + inner + i, up);
    if (kBackward) load<N>(d_out + row * inner + i, d);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float sigmoid = 1.0f / (1.0f + expf(-gate[j]));
      const float silu = gate[j] * sigmoid;
      result[j] = silu * up[j];
      if (kBackward) {
        gate[j] = d[j] * up[j] * (sigmoid + silu * (1.0f - sigmoid));
        up[j] = d[j] * silu;
      }
    }
    store<N>(out + row * inner + i, result);
    if (kBackward) {
      store<N>(d_gate_up + at + i, gate);
      store<N>(d_gate_up + at + inner + i, up);
    }
  }
}

template <typename T, int N>
__global__ void add_to_float_kernel(const T* x, std::int64_t count, float* sum) {
  const std::int64_t i = thread_of_grid() * N;
  if (i >= count) return;
  float in[N], total[N];
  load<N>(x + i, in);
  load<N>(sum + i, total);
#pragma unroll
  for (int j = 0; j < N; ++j) total[j] += in[j];
  store<N>(sum + i, total);
}

template <typename T, int N>
__global__ void from_float_kernel(const float* x, std::int64_t count, T* out) {
  const std::int64_t i = thread_of_grid() * N;
  if (i >= count) return;
  float in[N];
  load<N>(x + i, in);
  store<N>(out + i, in);
}

template <typename T>
__global__ void column_sum_kernel(const T* x, std::int64_t rows, std::int64_t width, std::int64_t per_part,
                                  float* parts) {
  const std::int64_t column = thread_of_grid(), part = blockIdx.y;
  if (column >= width) return;
  const std::int64_t last = (part + 1) * per_part < rows ? (part + 1) * per_part : rows;
  float sum = 0;
  for (std::int64_t row = part * per_part; row < last; ++row) sum += cuda::to_float(x[row * width + column]);
  parts[part * width + column] = sum;
}

// The block of the first of several equal ids adds all of their rows.
template <typename T>
__global__ void add_rows_kernel(const T* x, std::int64_t rows, std::int64_t width, const std::int64_t* ids,
                                const std::int64_t* order, float* sum) {
  const std::int64_t first = blockIdx.x, id = ids[first];
  if (first > 0 && ids[first - 1] == id) return;
  for (std::int64_t column = threadIdx.x; column < width; column += blockDim.x) {
    float total = sum[id * width + column];
    for (std::int64_t i = first; i < rows && ids[i] == id; ++i) {
      total += cuda::to_float(x[order[i] * width + column]);
    }
    sum[id * width + column] = total;
  }
}

// Numbers of a flat array in threads that take the most at once, and the last few one by one.
template <typename T, typename Launch>
void flat(std::initializer_list<const void*> pointers, std::int64_t count, const Launch& launch) {
  with_width<T>(pointers, {}, [&](auto width) {
    const std::int64_t packed = count / decltype(width)::value * decltype(width)::value;
    launch(width, std::int64_t{0}, packed);
    launch(Width<1>{}, packed, count - packed);
  });
}

dim3 team_block(bool warp) {
  return warp ? dim3(cuda::kWarp, kTeams) : dim3(kThreads);
}

}  // namespace

std::int64_t reduction_parts(std::int64_t rows) {
  return (rows + rows_per_part(rows) - 1) / rows_per_part(rows);
}

void add_parts(const float* parts, std::int64_t count, std::int64_t width, float* sum, Stream stream) {
  cuda::launch(add_parts_kernel, dim3(blocks(width, kThreads)), dim3(kThreads), 0, stream_of(stream), parts, count,
               width, sum);
}

template <typename T>
void rms_norm(const Vectors& shape, const T* x, const T* weight, float epsilon, T* out, float* rstd, Stream stream) {
  using D = typename OnDevice<T>::type;
  const bool warp = shape.width <= kWarpWidth;
  with_width<D>({x, weight, out}, {shape.width, shape.stride}, [&](auto width) {
    constexpr int n = decltype(width)::value;
    cuda::launch(warp ? rms_norm_kernel<D, n, true> : rms_norm_kernel<D, n, false>,
                 dim3(blocks(shape.count(), warp ? kTeams : 1)), team_block(warp), 0, stream_of(stream), shape,
                 shape.count(), on_device(x), on_device(weight), epsilon, on_device(out), rstd);
  });
}

template <typename T>
void rms_norm_backward(const Vectors& shape, const T* x, const T* weight, const float* rstd, const T* dy,
                       const T* residual, T* dx, float* parts, Stream stream) {
  using D = typename OnDevice<T>::type;
  const bool warp = shape.width <= kWarpWidth;
  const dim3 block = team_block(warp);
  const std::size_t shared = parts == nullptr ? 0 : block.y * static_cast<std::size_t>(shape.width) * sizeof(float);
  with_width<D>({x, weight, dy, residual, dx}, {shape.width, shape.stride}, [&](auto width) {
    constexpr int n = decltype(width)::value;
    cuda::launch(warp ? rms_norm_backward_kernel<D, n, true> : rms_norm_backward_kernel<D, n, false>,
                 dim3(static_cast<unsigned>(reduction_parts(shape.count()))), block, shared, stream_of(stream), shape,
                 shape.count(), rows_per_part(shape.count()), on_device(x), on_device(weight), rstd, on_device(dy),
                 on_device(residual), on_device(dx), parts);
  });
}

template <typename T>
void rope(const Vectors& shape, T* x, const float* cos, const float* sin, float direction, Stream stream) {
  using D = typename OnDevice<T>::type;
  with_width<D>({x}, {shape.width / 2, shape.stride}, [&](auto width) {
    cuda::launch(rope_kernel<D, decltype(width)::value>, dim3(blocks(shape.rows, 1)), dim3(kThreads), 0,
                 stream_of(stream), shape, on_device(x), cos, sin, direction);
  });
}

template <typename T>
void swiglu(const T* gate_up, std::int64_t rows, std::int64_t inner, T* out, Stream stream) {
  using D = typename OnDevice<T>::type;
  with_width<D>({gate_up, out}, {inner}, [&](auto width) {
    cuda::launch(swiglu_kernel<D, decltype(width)::value, false>, dim3(blocks(rows, 1)), dim3(kThreads), 0,
                 stream_of(stream), on_device(gate_up), static_cast<const D*>(nullptr), inner, on_device(out),
                 static_cast<D*>(nullptr));
  });
}

template <typename T>
void swiglu_backward(T* gate_up, const T* d_out, std::int64_t rows, std::int64_t inner, T* out, Stream stream) {
  using D = typename OnDevice<T>::type;
  with_width<D>({gate_up, d_out, out}, {inner}, [&](auto width) {
    cuda::launch(swiglu_kernel<D, decltype(width)::value, true>, dim3(blocks(rows, 1)), dim3(kThreads), 0,
                 stream_of(stream), static_cast<const D*>(on_device(gate_up)), on_device(d_out), inner, on_device(out),
                 on_device(gate_up));
  });
}

template <typename T>
void add_to_float(const T* x, std::int64_t count, float* sum, Stream stream) {
  using D = typename OnDevice<T>::type;
  flat<D>({x, sum}, count, [&](auto width, std::int64_t begin, std::int64_t numbers) {
    constexpr int n = decltype(width)::value;
    cuda::launch(add_to_float_kernel<D, n>, dim3(blocks(numbers / n, kThreads)), dim3(kThreads), 0, stream_of(stream),
                 on_device(x) + begin, numbers, sum + begin);
  });
}

template <typename T>
void from_float(const float* x, std::int64_t count, T* out, Stream stream) {
  using D = typename OnDevice<T>::type;
  flat<D>({x, out}, count, [&](auto width, std::int64_t begin, std::int64_t numbers) {
    constexpr int n = decltype(width)::value;
    cuda::launch(from_float_kernel<D, n>, dim3(blocks(numbers / n, kThreads)), dim3(kThreads), 0, stream_of(stream),
                 x + begin, numbers, on_device(out) + begin);
  });
}

template <typename T>
void column_sum(const T* x, std::int64_t rows, std::int64_t width, float* parts, Stream stream) {
  using D = typename OnDevice<T>::type;
  cuda::launch(column_sum_kernel<D>, dim3(blocks(width, kThreads), static_cast<unsigned>(reduction_parts(rows))),
               dim3(kThreads), 0, stream_of(stream), on_device(x), rows, width, rows_per_part(rows), parts);
}

template <typename T>
void add_rows(const T* x, std::int64_t rows, std::int64_t width, const std::int64_t* ids, const std::int64_t* order,
              float* sum, Stream stream) {
  using D = typename OnDevice<T>::type;
  cuda::launch(add_rows_kernel<D>, dim3(blocks(rows, 1)), dim3(kThreads), 0, stream_of(stream), on_device(x), rows,
               width, ids, order, sum);
}

#define SETRL_INSTANTIATE(T)                                                                                           \
  template void rms_norm<T>(const Vectors&, const T*, const T*, float, T*, float*, Stream);                            \
  template void rms_norm_backward<T>(const Vectors&, const T*, const T*, const float*, const T*, const T*, T*, float*, \
                                     Stream);                                                                          \
  template void rope<T>(const Vectors&, T*, const float*, const float*, float, Stream);                                \
  template void swiglu<T>(const T*, std::int64_t, std::int64_t, T*, Stream);                                           \
  template void swiglu_backward<T>(T*, const T*, std::int64_t, std::int64_t, T*, Stream);                              \
  template void add_to_float<T>(const T*, std::int64_t, float*, Stream);                                               \
  template void from_float<T>(const float*, std::int64_t, T*, Stream);                                                 \
  template void column_sum<T>(const T*, std::int64_t, std::int64_t, float*, Stream);                                   \
  template void add_rows<T>(const T*, std::int64_t, std::int64_t, const std::int64_t*, const std::int64_t*, float*,    \
                            Stream);
SETRL_INSTANTIATE(float)
SETRL_INSTANTIATE(Bfloat16)
#undef SETRL_INSTANTIATE

}  // namespace setrl::learn::gpu
