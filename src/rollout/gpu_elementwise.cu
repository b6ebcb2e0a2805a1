// What happens to rows between the matrix products.
#include "base/cuda_kernel.h"
#include "rollout/gpu_kernels.h"
#include "rollout/gpu_storage_impl.h"

namespace setrl::rollout::gpu {

namespace {

using cuda::from_float;
using cuda::to_float;

constexpr int kMostThreads = 256;
constexpr int kHeadWarps = 4;  // heads that a block of rotate_kernel makes

// Threads for a row of `width` elements, four or more of them each: whole warps.
unsigned threads_for(std::int64_t width) {
  const std::int64_t wanted = (width / 4 + cuda::kWarp - 1) / cuda::kWarp * cuda::kWarp;
  return static_cast<unsigned>(wanted < cuda::kWarp ? cuda::kWarp : wanted > kMostThreads ? kMostThreads : wanted);
}

dim3 grid_of(std::int64_t x, std::int64_t y = 1) {
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y));
}

template <typename T>
__global__ void embed_kernel(const T* table, const std::int32_t* tokens, std::int64_t first_id, std::int64_t vocabulary,
                             std::int64_t hidden, float* out) {
  const std::int64_t row = blockIdx.x, id = tokens[row] - first_id;
  const bool here = id >= 0 && id < vocabulary;
  for (std::int64_t i = threadIdx.x; i < hidden; i += blockDim.x) {
    out[row * hidden + i] = here ? to_float(table[id * hidden + i]) : 0.0f;
  }
}

template <typename T>
__global__ void add_norm_kernel(float* residual, Addend addend, const float* weight, float epsilon, std::int64_t rows,
                                std::int64_t hidden, T* out) {
  __shared__ float scratch[cuda::kWarp];
  float* row = residual + static_cast<std::int64_t>(blockIdx.x) * hidden;
  const std::int64_t width = hidden / addend.parts;  // columns of a part
  const float* more = addend.data == nullptr ? nullptr : addend.data + static_cast<std::int64_t>(blockIdx.x) * width;
  const auto place = [&](std::int64_t column) { return column / width * rows * width + column % width; };
  T* to = out + static_cast<std::int64_t>(blockIdx.x) * hidden;
  float sum = 0;
  const std::int64_t whole = width % 4 == 0 ? hidden / 4 : 0;  // four at once where rows are aligned
  for (std::int64_t i = threadIdx.x; i < whole; i += blockDim.x) {
    float4 x = reinterpret_cast<const float4*>(row)[i];
    if (more != nullptr) {
      const float4 y = *reinterpret_cast<const float4*>(more + place(4 * i));
      x = {x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w};
      reinterpret_cast<float4*>(row)[i] = x;
    }
    sum += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
  }
  for (std::int64_t i = 4 * whole + threadIdx.x; i < hidden; i += blockDim.x) {
    const float x = more == nullptr ? row[i] : row[i] + more[place(i)];
    row[i] = x;
    sum += x * x;
  }
  const float factor = 1.0f / sqrtf(cuda::block_sum(sum, scratch) / static_cast<float>(hidden) + epsilon);
  // Each thread reads back what it wrote itself.
  for (std::int64_t i = threadIdx.x; i < whole; i += blockDim.x) {
    const float4 x = reinterpret_cast<const float4*>(row)[i], w = reinterpret_cast<const float4*>(weight)[i];
    store_four(to + 4 * i, x.x * factor * w.x, x.y * factor * w.y, x.z * factor * w.z, x.w * factor * w.w);
  }
  for (std::int64_t i = 4 * whole + threadIdx.x; i < hidden; i += blockDim.x) {
    to[i] = from_float<T>(row[i] * factor * weight[i]);
  }
}

// A warp makes one head of one row: q heads first, then k, then v.
template <typename T>
__global__ void rotate_kernel(RotateArgs args, PageTable table, Cache cache) {
  const std::int64_t size = cache.head_size, half = size / 2, row = blockIdx.x;
  const std::int64_t lane = threadIdx.x % cuda::kWarp;
  const std::int64_t head = static_cast<std::int64_t>(blockIdx.y) * kHeadWarps + threadIdx.x / cuda::kWarp;
  const std::int64_t heads = args.heads + 2 * cache.kv_heads;
  if (head >= heads) return;  // the whole warp
  float* x = args.qkv + (row * heads + head) * size;
  if (args.bias != nullptr) {
    for (std::int64_t i = lane; i < size; i += cuda::kWarp) x[i] += args.bias[head * size + i];
    __syncwarp();
  }
  const std::int64_t position = table.positions[row];
  const bool is_q = head < args.heads, is_v = head >= args.heads + cache.kv_heads;
  if (is_v) {
    T* to = values_of<T>(cache, page_of(table, row, position), args.layer, head - args.heads - cache.kv_heads);
    for (std::int64_t i = lane; i < size; i += cuda::kWarp) {
      to[position % kPage * padded_size<T>(size) + i] = from_float<T>(x[i]);
    }
    return;
  }
  const float* norm = is_q ? args.q_norm : args.k_norm;
  float factor = 1;
  if (norm != nullptr) {
    float sum = 0;
    for (std::int64_t i = lane; i < size; i += cuda::kWarp) sum += x[i] * x[i];
    factor = 1.0f / sqrtf(cuda::warp_sum(sum) / static_cast<float>(size) + args.epsilon);
  }
  T* keys = is_q ? nullptr : keys_of<T>(cache, page_of(table, row, position), args.layer, head - args.heads);
  for (std::int64_t i = lane; i < half; i += cuda::kWarp) {
    float a = x[i], b = x[i + half];
    if (norm != nullptr) {
      a = a * factor * norm[i];
      b = b * factor * norm[i + half];
    }
    const float cos = args.cos[position * half + i], sin = args.sin[position * half + i];
    const float first = a * cos - b * sin, second = b * cos + a * sin;
    if (is_q) {
      x[i] = first;
      x[i + half] = second;
    } else {
      keys[key_index<T>(position % kPage, i)] = from_float<T>(first);
      keys[key_index<T>(position % kPage, i + half)] = from_float<T>(second);
    }
  }
}

template <typename T>
__global__ void silu_mul_kernel(const float* gate_up, std::int64_t inner, T* out) {
  const float* gate = gate_up + static_cast<std::int64_t>(blockIdx.x) * 2 * inner;
  const float* up = gate + inner;
  T* to = out + static_cast<std::int64_t>(blockIdx.x) * inner;
  const auto silu = [](float x) { return x / (expf(-x) + 1.0f); };
  const std::int64_t whole = inner % 4 == 0 ? inner / 4 : 0;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.y) * blockDim.x;
  for (std::int64_t i = first; i < whole; i += step) {
    const float4 g = reinterpret_cast<const float4*>(gate)[i], u = reinterpret_cast<const float4*>(up)[i];
    store_four(to + 4 * i, silu(g.x) * u.x, silu(g.y) * u.y, silu(g.z) * u.z, silu(g.w) * u.w);
  }
  for (std::int64_t i = 4 * whole + first; i < inner; i += step) to[i] = from_float<T>(silu(gate[i]) * up[i]);
}

__global__ void gather_rows_kernel(const std::int32_t* in, const std::int32_t* rows, std::int64_t words,
                                   std::int32_t* out) {
  const std::int64_t to = blockIdx.x, from = rows[to];
  for (std::int64_t i = threadIdx.x; i < words; i += blockDim.x) out[to * words + i] = in[from * words + i];
}

template <typename T>
void embed_as(const void* table, const std::int32_t* tokens, std::int64_t first_id, std::int64_t vocabulary,
              std::int64_t rows, std::int64_t hidden, float* out, cudaStream_t stream) {
  cuda::launch(embed_kernel<T>, grid_of(rows), dim3(threads_for(hidden)), 0, stream, static_cast<const T*>(table),
               tokens, first_id, vocabulary, hidden, out);
}

}  // namespace

std::int64_t padded_head_size(std::int64_t head_size, bool bf16) {
  return bf16 ? padded_size<__nv_bfloat16>(head_size) : padded_size<float>(head_size);
}

void embed(const void* table, bool bf16, const std::int32_t* tokens, std::int64_t first_id, std::int64_t vocabulary,
           std::int64_t rows, std::int64_t hidden, float* out, Stream stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if (bf16) {
    embed_as<__nv_bfloat16>(table, tokens, first_id, vocabulary, rows, hidden, out, on);
  } else {
    embed_as<float>(table, tokens, first_id, vocabulary, rows, hidden, out, on);
  }
}

void add_norm(float* residual, const Addend& addend, const float* weight, float epsilon, std::int64_t rows,
              std::int64_t hidden, void* out, bool bf16, Stream stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const dim3 threads(threads_for(hidden));
  if (bf16) {
    cuda::launch(add_norm_kernel<__nv_bfloat16>, grid_of(rows), threads, 0, on, residual, addend, weight, epsilon, rows,
                 hidden, static_cast<__nv_bfloat16*>(out));
  } else {
    cuda::launch(add_norm_kernel<float>, grid_of(rows), threads, 0, on, residual, addend, weight, epsilon, rows,
                 hidden, static_cast<float*>(out));
  }
}

void rotate_and_store(const RotateArgs& args, const PageTable& table, const Cache& cache, Stream stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const dim3 grid = grid_of(args.rows, (args.heads + 2 * cache.kv_heads + kHeadWarps - 1) / kHeadWarps);
  const dim3 threads(kHeadWarps * cuda::kWarp);
  if (cache.bf16) {
    cuda::launch(rotate_kernel<__nv_bfloat16>, grid, threads, 0, on, args, table, cache);
  } else {
    cuda::launch(rotate_kernel<float>, grid, threads, 0, on, args, table, cache);
  }
}

void silu_mul(const float* gate_up, std::int64_t rows, std::int64_t inner, void* out, bool bf16, Stream stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const dim3 threads(threads_for(inner));
  // Wide rows are cut, so that a few rows fill the device too.
  const dim3 grid = grid_of(rows, (inner + 4 * kMostThreads - 1) / (4 * kMostThreads));
  if (bf16) {
    cuda::launch(silu_mul_kernel<__nv_bfloat16>, grid, threads, 0, on, gate_up, inner,
                 static_cast<__nv_bfloat16*>(out));
  } else {
    cuda::launch(silu_mul_kernel<float>, grid, threads, 0, on, gate_up, inner, static_cast<float*>(out));
  }
}

void gather_rows(const void* in, const std::int32_t* rows, std::int64_t count, std::int64_t bytes, void* out,
                 Stream stream) {
  cuda::launch(gather_rows_kernel, grid_of(count), dim3(threads_for(bytes / 4)), 0, static_cast<cudaStream_t>(stream),
               static_cast<const std::int32_t*>(in), rows, bytes / 4, static_cast<std::int32_t*>(out));
}

}  // namespace setrl::rollout::gpu
