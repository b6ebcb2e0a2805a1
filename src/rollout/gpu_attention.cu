// Paged attention with grouped queries, split over the sequence (flash-decoding: Dao et al. 2023). A block takes one
// item (rows that share pages) and one kv head, and goes over its chunks of 128 positions: scores of all query rows
// against the chunk's keys, their softmax, the weighted sum of its values; then the running result is merged with the
// chunk's (online softmax). Each key and value is read once for all query rows of the item. An item of one chunk writes
// its partial result, which merge_kernel merges with the others in the order of positions by the same operations: so a
// row has the same bits however it was cut into items. Products are on the CUDA cores: that keeps up with the memory in
// decoding, where each element read is used by a few query rows; in prefill tensor cores would be faster.
#include "base/cuda_kernel.h"
#include "rollout/gpu_kernels.h"
#include "rollout/gpu_storage_impl.h"

namespace setrl::rollout::gpu {

namespace {

using cuda::from_float;
using cuda::to_float;

constexpr int kThreads = kChunk;  // thread t makes the scores of a chunk's position t
constexpr int kWarps = kThreads / cuda::kWarp;
constexpr int kScoreRows = 8;                 // query rows whose scores a thread makes at once
constexpr float kNothing = -3.402823466e38f;  // the maximum over no positions; below every score

// By how much the results so far and those of a chunk count once both have the same maximum.
struct Merge {
  float max, before, chunk;
};
__device__ __forceinline__ Merge merge(float max_before, float max_chunk) {
  const float max = fmaxf(max_before, max_chunk);
  return {max, max_before == kNothing ? 0.0f : expf(max_before - max),
          max_chunk == kNothing ? 0.0f : expf(max_chunk - max)};
}
__device__ __forceinline__ float merged(float before, float chunk, const Merge& by) {
  return fmaf(before, by.before, chunk * by.chunk);
}

// The block's shared memory, for `rows` query rows.
struct Shared {
  float* scores;                                    // [rows, kChunk], then their exponentials
  float* q;                                         // [rows, Dp], scaled
  float *max, *sum, *factor_before, *factor_chunk;  // [rows]
  __host__ __device__ static std::size_t bytes(std::int64_t rows, std::int64_t padded) {
    return static_cast<std::size_t>(rows * (kChunk + padded + 4)) * sizeof(float);
  }
  __device__ Shared(float* base, std::int64_t rows, std::int64_t padded)
      : scores(base),
        q(scores + rows * kChunk),
        max(q + rows * padded),
        sum(max + rows),
        factor_before(sum + rows),
        factor_chunk(factor_before + rows) {}
};

// kRows: most query rows (rows of the batch times heads of the kv head; number r is head r % group of row r / group).
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads) attend_kernel(AttendArgs args, PageTable table, Cache cache) {
  const AttentionItem item = args.items[blockIdx.x];
  if (item.rows == 0) return;
  constexpr int kLoad = kVector<T>;
  const std::int64_t kv_head = blockIdx.y, size = cache.head_size, padded = padded_size<T>(size);
  const int group = static_cast<int>(args.heads / cache.kv_heads), rows = item.rows * group;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % cuda::kWarp, warp = thread / cuda::kWarp;
  const Shared shared(cuda::dynamic_shared<float>(), kRows, padded);

  const float scale = 1.0f / sqrtf(static_cast<float>(size));
  const std::int64_t q_stride = (args.heads + 2 * cache.kv_heads) * size;
  for (int i = thread; i < rows * padded; i += kThreads) {
    const std::int64_t r = i / padded, d = i % padded;
    const float* q = args.qkv + (item.first_row + r / group) * q_stride + (kv_head * group + r % group) * size;
    shared.q[i] = d < size ? q[d] * scale : 0.0f;
  }
  for (int r = thread; r < rows; r += kThreads) {
    shared.max[r] = kNothing;
    shared.sum[r] = 0;
  }
  std::int64_t last = 0;
  for (int i = 0; i < item.rows; ++i) {
    const std::int64_t position = table.positions[item.first_row + i];
    last = position > last ? position : last;
  }
  // Thread -> dimension of the output, and every `groups`th query row beginning with `first`.
  const int width = static_cast<int>((size + cuda::kWarp - 1) / cuda::kWarp * cuda::kWarp), groups = kThreads / width;
  const int dimension = thread % width, first = thread / width;
  const bool sums = first < groups && dimension < size;
  float out[kRows] = {};
  __syncthreads();

  for (int c = item.first_chunk; c < item.first_chunk + item.chunks; ++c) {
    const std::int64_t start = static_cast<std::int64_t>(c) * kChunk, key = start + thread;
    const T* keys =
        key > last ? nullptr
                   : keys_of<T>(cache, page_of(table, item.first_row, key), args.layer, kv_head) + key % kPage * kLoad;
    for (int begin = 0; begin < rows; begin += kScoreRows) {
      float score[kScoreRows] = {};
      if (keys != nullptr) {
        for (std::int64_t v = 0; v < padded; v += kLoad) {
          float k[kLoad];
          load_vector(keys + v * kPage, k);
#pragma unroll
          for (int i = 0; i < kScoreRows; ++i) {
            if (begin + i >= rows) break;
            const float* q = shared.q + (begin + i) * padded + v;
#pragma unroll
            for (int d = 0; d < kLoad; d += 4) {
              const float4 four = *reinterpret_cast<const float4*>(q + d);
              score[i] = fmaf(four.x, k[d], score[i]);
              score[i] = fmaf(four.y, k[d + 1], score[i]);
              score[i] = fmaf(four.z, k[d + 2], score[i]);
              score[i] = fmaf(four.w, k[d + 3], score[i]);
            }
          }
        }
      }
#pragma unroll
      for (int i = 0; i < kScoreRows; ++i) {
        const int r = begin + i;
        if (r >= rows) break;
        const bool seen = key <= table.positions[item.first_row + r / group];
        shared.scores[r * kChunk + thread] = seen ? score[i] : kNothing;
      }
    }
    __syncthreads();
    for (int r = warp; r < rows; r += kWarps) {
      float* scores = shared.scores + r * kChunk;
      float max = kNothing;
      for (int i = lane; i < kChunk; i += cuda::kWarp) max = fmaxf(max, scores[i]);
      max = cuda::warp_max(max);
      float sum = 0;
      for (int i = lane; i < kChunk; i += cuda::kWarp) {
        const float p = scores[i] == kNothing ? 0.0f : expf(scores[i] - max);
        scores[i] = p;
        sum += p;
      }
      sum = cuda::warp_sum(sum);
      if (lane == 0) {
        const Merge by = merge(shared.max[r], max);
        shared.max[r] = by.max;
        shared.sum[r] = merged(shared.sum[r], sum, by);
        shared.factor_before[r] = by.before;
        shared.factor_chunk[r] = by.chunk;
      }
    }
    __syncthreads();
    if (sums) {
      float sum[kRows] = {};
      const std::int64_t count = last - start + 1 < kChunk ? last - start + 1 : kChunk;
      for (std::int64_t at = 0; at < count; at += 4) {  // within one page
        const T* values =
            values_of<T>(cache, page_of(table, item.first_row, start + at), args.layer, kv_head) + dimension;
        float v[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          v[j] = at + j < count ? to_float(values[((start + at + j) % kPage) * padded]) : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const int r = first + i * groups;
          if (r >= rows) break;
          const float4 p = *reinterpret_cast<const float4*>(shared.scores + r * kChunk + at);
          sum[i] = fmaf(p.x, v[0], sum[i]);
          sum[i] = fmaf(p.y, v[1], sum[i]);
          sum[i] = fmaf(p.z, v[2], sum[i]);
          sum[i] = fmaf(p.w, v[3], sum[i]);
        }
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int r = first + i * groups;
        if (r >= rows) break;
        out[i] = merged(out[i], sum[i], {0.0f, shared.factor_before[r], shared.factor_chunk[r]});
      }
    }
    __syncthreads();  // before the next chunk's scores
  }

  if (!sums) return;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int r = first + i * groups;
    if (r >= rows) break;
    const std::int64_t row = item.first_row + r / group, head = kv_head * group + r % group;
    if (args.partial_begin[row] < 0) {
      static_cast<T*>(args.out)[(row * args.heads + head) * size + dimension] = from_float<T>(out[i] / shared.sum[r]);
      continue;
    }
    const std::int64_t place = (args.partial_begin[row] + item.first_chunk) * args.heads + head;
    args.partial_out[place * size + dimension] = out[i];
    if (dimension == 0) {
      args.partial_max[place] = shared.max[r];
      args.partial_sum[place] = shared.sum[r];
    }
  }
}

template <typename T>
__global__ void merge_kernel(AttendArgs args, PageTable table, Cache cache) {
  const std::int64_t row = blockIdx.x, head = blockIdx.y, dimension = threadIdx.x, size = cache.head_size;
  if (args.partial_begin[row] < 0 || dimension >= size) return;
  const std::int64_t chunks = table.positions[row] / kChunk + 1;
  float max = kNothing, sum = 0, out = 0;
  for (std::int64_t c = 0; c < chunks; ++c) {
    const std::int64_t place = (args.partial_begin[row] + c) * args.heads + head;
    const Merge by = merge(max, args.partial_max[place]);
    max = by.max;
    sum = merged(sum, args.partial_sum[place], by);
    out = merged(out, args.partial_out[place * size + dimension], by);
  }
  static_cast<T*>(args.out)[(row * args.heads + head) * size + dimension] = from_float<T>(out / sum);
}

template <typename T, int kRows>
void attend_as(const AttendArgs& args, const PageTable& table, const Cache& cache, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(args.item_count), static_cast<unsigned>(cache.kv_heads));
  cuda::launch(attend_kernel<T, kRows>, grid, dim3(kThreads), Shared::bytes(kRows, padded_size<T>(cache.head_size)),
               stream, args, table, cache);
}

template <typename T>
void attend_any(const AttendArgs& args, const PageTable& table, const Cache& cache, cudaStream_t stream) {
  if (args.wide) {
    attend_as<T, kMostQueryRows>(args, table, cache, stream);
  } else {
    attend_as<T, kFewQueryRows>(args, table, cache, stream);
  }
}

}  // namespace

void attend(const AttendArgs& args, const PageTable& table, const Cache& cache, Stream stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if (cache.bf16) {
    attend_any<__nv_bfloat16>(args, table, cache, on);
  } else {
    attend_any<float>(args, table, cache, on);
  }
}

void merge_partials(const AttendArgs& args, const PageTable& table, const Cache& cache, std::int64_t rows,
                    Stream stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(args.heads));
  const dim3 threads(static_cast<unsigned>((cache.head_size + cuda::kWarp - 1) / cuda::kWarp * cuda::kWarp));
  if (cache.bf16) {
    cuda::launch(merge_kernel<__nv_bfloat16>, grid, threads, 0, on, args, table, cache);
  } else {
    cuda::launch(merge_kernel<float>, grid, threads, 0, on, args, table, cache);
  }
}

}  // namespace setrl::rollout::gpu
