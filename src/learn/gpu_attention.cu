#include "learn/gpu_attention.h"

#include "learn/gpu_pack_impl.h"

namespace setrl::learn::gpu {

namespace {

constexpr int kWarps = 8;
constexpr int kRows = 4;               // rows of a warp, one after the other
constexpr int kTile = kWarps * kRows;  // rows of a block; and, one a lane, what they meet at a time
static_assert(kTile == cuda::kWarp);
constexpr int kThreads = kWarps * cuda::kWarp;

// Neighbouring rows of one head as [kTile, pitch] float32 in shared memory, those from `rows` on as zeros.
template <typename T>
__device__ __forceinline__ void load_tile(const T* from, std::int64_t stride, std::int64_t rows, int size, float* tile,
                                          int pitch) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * size; i += kThreads) {
    const int row = i / size, d = i % size;
    tile[row * pitch + d] = row < rows ? cuda::to_float(from[row * stride + d]) : 0.0f;
  }
}

__device__ __forceinline__ float dot(const float* a, const float* b, int size) {
  float sum = 0;
  for (int d = 0; d < size; ++d) sum += a[d] * b[d];
  return sum;
}

// Which rows of its sequence a block works on.
struct Place {
  std::int64_t first;             // row within the sequence
  std::int64_t q_begin, k_begin;  // of the sequence
  std::int64_t queries, keys;     // its lengths
};

__device__ __forceinline__ Place place_of(const VarlenShape& shape, std::int64_t tiles) {
  const std::int64_t sequence = blockIdx.x / tiles;
  Place place;
  place.first = blockIdx.x % tiles * kTile;
  place.q_begin = shape.q_begins[sequence];
  place.k_begin = shape.k_begins[sequence];
  place.queries = shape.q_begins[sequence + 1] - place.q_begin;
  place.keys = shape.k_begins[sequence + 1] - place.k_begin;
  return place;
}

// kLanes: numbers of a head that a lane holds, every 32nd.
template <typename T, int kLanes>
__global__ void forward_kernel(VarlenShape shape, std::int64_t tiles, const T* q, const T* k, const T* v, T* out,
                               float* lse) {
  const Place place = place_of(shape, tiles);
  if (place.first >= place.queries) return;
  const int size = static_cast<int>(shape.size), pitch = size + 1;
  const std::int64_t head = blockIdx.y, kv_head = head / (shape.heads / shape.kv_heads);
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp, warp = static_cast<int>(threadIdx.x) / cuda::kWarp;
  float* q_tile = cuda::dynamic_shared<float>();
  float* k_tile = q_tile + kTile * pitch;
  float* v_tile = k_tile + kTile * pitch;
  float* scores = v_tile + kTile * pitch;  // [kTile, kTile]
  load_tile(q + (place.q_begin + place.first) * shape.q_stride + head * size, shape.q_stride,
            place.queries - place.first, size, q_tile, pitch);
  float largest[kRows], sum[kRows], total[kRows][kLanes];
  for (int r = 0; r < kRows; ++r) {
    largest[r] = -INFINITY;
    sum[r] = 0;
    for (int j = 0; j < kLanes; ++j) total[r][j] = 0;
  }
  const std::int64_t seen = shape.causal && place.first + kTile < place.keys ? place.first + kTile : place.keys;
  for (std::int64_t begin = 0; begin < seen; begin += kTile) {
    __syncthreads();
    const std::int64_t at = place.k_begin + begin;
    load_tile(k + at * shape.k_stride + kv_head * size, shape.k_stride, place.keys - begin, size, k_tile, pitch);
    load_tile(v + at * shape.v_stride + kv_head * size, shape.v_stride, place.keys - begin, size, v_tile, pitch);
    __syncthreads();
    for (int r = 0; r < kRows; ++r) {
      const int row = warp * kRows + r;
      const std::int64_t key = begin + lane;
      const bool visible = key < place.keys && (!shape.causal || key <= place.first + row);
      const float score = visible ? dot(q_tile + row * pitch, k_tile + lane * pitch, size) * shape.scale : -INFINITY;
      const float now = fmaxf(largest[r], cuda::warp_max(score));
      const float keep = expf(largest[r] - now), p = visible ? expf(score - now) : 0.0f;
      sum[r] = sum[r] * keep + cuda::warp_sum(p);
      largest[r] = now;
      scores[row * kTile + lane] = p;
      for (int j = 0; j < kLanes; ++j) total[r][j] *= keep;
    }
    __syncwarp();
    for (int r = 0; r < kRows; ++r) {
      const float* p = scores + (warp * kRows + r) * kTile;
      for (int key = 0; key < kTile; ++key) {
        for (int j = 0; j < kLanes; ++j) {
          const int d = lane + j * cuda::kWarp;
          if (d < size) total[r][j] += p[key] * v_tile[key * pitch + d];
        }
      }
    }
    __syncwarp();
  }
  for (int r = 0; r < kRows; ++r) {
    const std::int64_t query = place.first + warp * kRows + r;
    if (query >= place.queries) continue;
    const std::int64_t row = place.q_begin + query;
    const float inverse = sum[r] > 0 ? 1.0f / sum[r] : sum[r];  // NaN stays
    for (int j = 0; j < kLanes; ++j) {
      const int d = lane + j * cuda::kWarp;
      if (d < size) out[(row * shape.heads + head) * size + d] = cuda::from_float<T>(total[r][j] * inverse);
    }
    if (lane == 0) lse[head * shape.q_rows + row] = largest[r] + logf(sum[r]);
  }
}

// delta = the sum over a head of out * d(loss)/d(out); a warp a head of a row.
template <typename T>
__global__ void delta_kernel(const T* out, const T* d_out, std::int64_t rows, std::int64_t heads, std::int64_t size,
                             float* delta) {
  const std::int64_t vector = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (vector >= rows * heads) return;
  float sum = 0;
  for (std::int64_t d = threadIdx.x; d < size; d += cuda::kWarp) {
    sum += cuda::to_float(out[vector * size + d]) * cuda::to_float(d_out[vector * size + d]);
  }
  sum = cuda::warp_sum(sum);
  if (threadIdx.x == 0) delta[vector % heads * rows + vector / heads] = sum;
}

// A block owns rows: of queries (gradient dq in `first`), or of keys (dk in `first`, dv in `second`, from the queries
// of all heads that share them). It meets the other kind tile by tile, one row a lane.
template <typename T, int kLanes, bool kOfKeys>
__global__ void backward_kernel(VarlenShape shape, std::int64_t tiles, const T* q, const T* k, const T* v,
                                const T* d_out, const float* lse, const float* delta, T* first, T* second) {
  const Place place = place_of(shape, tiles);
  const std::int64_t rows = kOfKeys ? place.keys : place.queries, others = kOfKeys ? place.queries : place.keys;
  if (place.first >= rows) return;
  const int size = static_cast<int>(shape.size), pitch = size + 1;
  const std::int64_t share = shape.heads / shape.kv_heads;
  const std::int64_t kv_head = kOfKeys ? blockIdx.y : blockIdx.y / share;
  const std::int64_t first_head = kOfKeys ? kv_head * share : blockIdx.y, heads = kOfKeys ? share : 1;
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp, warp = static_cast<int>(threadIdx.x) / cuda::kWarp;
  // Of queries: q and d_out; of keys: k and v.
  float* own_a = cuda::dynamic_shared<float>();
  float* own_b = own_a + kTile * pitch;
  float* other_a = own_b + kTile * pitch;
  float* other_b = other_a + kTile * pitch;
  float* gradients = other_b + kTile * pitch;  // [kTile, kTile] of the scores
  float* weights = gradients + kTile * kTile;  // [kTile, kTile] probabilities
  const std::int64_t out_stride = shape.heads * size;
  const auto load_queries = [&](std::int64_t begin, std::int64_t head, float* a, float* b) {
    const std::int64_t at = place.q_begin + begin, left = place.queries - begin;
    load_tile(q + at * shape.q_stride + head * size, shape.q_stride, left, size, a, pitch);
    load_tile(d_out + at * out_stride + head * size, out_stride, left, size, b, pitch);
  };
  const auto load_keys = [&](std::int64_t begin, float* a, float* b) {
    const std::int64_t at = place.k_begin + begin, left = place.keys - begin;
    load_tile(k + at * shape.k_stride + kv_head * size, shape.k_stride, left, size, a, pitch);
    load_tile(v + at * shape.v_stride + kv_head * size, shape.v_stride, left, size, b, pitch);
  };
  if (kOfKeys)
    load_keys(place.first, own_a, own_b);
  else
    load_queries(place.first, first_head, own_a, own_b);
  float sum_a[kRows][kLanes], sum_b[kRows][kLanes];
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < kLanes; ++j) sum_a[r][j] = sum_b[r][j] = 0;
  }
  // Causal: queries meet keys up to their own, keys meet queries from their own on.
  const std::int64_t start = kOfKeys && shape.causal ? place.first : 0;
  const std::int64_t end = !kOfKeys && shape.causal && place.first + kTile < others ? place.first + kTile : others;
  for (std::int64_t head = first_head; head < first_head + heads; ++head) {
    for (std::int64_t begin = start; begin < end; begin += kTile) {
      __syncthreads();
      if (kOfKeys)
        load_queries(begin, head, other_a, other_b);
      else
        load_keys(begin, other_a, other_b);
      __syncthreads();
      for (int r = 0; r < kRows; ++r) {
        const int row = warp * kRows + r;
        const std::int64_t query = kOfKeys ? begin + lane : place.first + row;
        const std::int64_t key = kOfKeys ? place.first + row : begin + lane;
        const bool visible = query < place.queries && key < place.keys && (!shape.causal || key <= query);
        float p = 0, gradient = 0;
        if (visible) {
          const std::int64_t at = head * shape.q_rows + place.q_begin + query;
          p = expf(dot(own_a + row * pitch, other_a + lane * pitch, size) * shape.scale - lse[at]);
          gradient = p * (dot(own_b + row * pitch, other_b + lane * pitch, size) - delta[at]) * shape.scale;
        }
        gradients[row * kTile + lane] = gradient;
        if (kOfKeys) weights[row * kTile + lane] = p;
      }
      __syncwarp();
      for (int r = 0; r < kRows; ++r) {
        const int row = warp * kRows + r;
        for (int other = 0; other < kTile; ++other) {
          for (int j = 0; j < kLanes; ++j) {
            const int d = lane + j * cuda::kWarp;
            if (d >= size) continue;
            sum_a[r][j] += gradients[row * kTile + other] * other_a[other * pitch + d];
            if (kOfKeys) sum_b[r][j] += weights[row * kTile + other] * other_b[other * pitch + d];
          }
        }
      }
      __syncwarp();
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const std::int64_t row = place.first + warp * kRows + r;
    if (row >= rows) continue;
    const std::int64_t at = kOfKeys ? ((place.k_begin + row) * shape.kv_heads + kv_head) * size
                                    : ((place.q_begin + row) * shape.heads + first_head) * size;
    for (int j = 0; j < kLanes; ++j) {
      const int d = lane + j * cuda::kWarp;
      if (d >= size) continue;
      first[at + d] = cuda::from_float<T>(sum_a[r][j]);
      if (kOfKeys) second[at + d] = cuda::from_float<T>(sum_b[r][j]);
    }
  }
}

template <typename T>
__global__ void merge_kernel(const std::int32_t* rows, std::int64_t count, std::int64_t q_rows, std::int64_t heads,
                             std::int64_t size, const T* part, const float* part_lse, T* out, float* lse) {
  const std::int64_t vector = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (vector >= count * heads) return;
  const std::int64_t i = vector / heads, head = vector % heads, row = rows[i];
  const float a = lse[head * q_rows + row], b = part_lse[head * count + i];
  const float largest = fmaxf(a, b), weight_a = expf(a - largest), weight_b = expf(b - largest);
  const float sum = weight_a + weight_b, keep = weight_a / sum, add = weight_b / sum;
  __syncwarp();  // all lanes have read lse
  if (threadIdx.x == 0) lse[head * q_rows + row] = largest + logf(sum);
  T* to = out + (row * heads + head) * size;
  for (std::int64_t d = threadIdx.x; d < size; d += cuda::kWarp) {
    to[d] = cuda::from_float<T>(keep * cuda::to_float(to[d]) + add * cuda::to_float(part[vector * size + d]));
  }
}

// Calls body(Width<numbers of a head a lane holds>).
template <typename Body>
void with_lanes(std::int64_t size, const Body& body) {
  if (size <= 32) return body(Width<1>{});
  if (size <= 64) return body(Width<2>{});
  if (size <= 128) return body(Width<4>{});
  if (size <= 256) return body(Width<8>{});
  throw std::logic_error("attention on GPUs takes heads of up to 256 numbers");
}

std::size_t tiles_bytes(const VarlenShape& shape, int of_rows, int of_scores) {
  return sizeof(float) * static_cast<std::size_t>(kTile * (of_rows * (shape.size + 1) + of_scores * kTile));
}

std::int64_t tiles_of(std::int64_t rows) {
  return (rows + kTile - 1) / kTile;
}

const dim3 kVectorBlock(cuda::kWarp, kWarps);

}  // namespace

template <typename T>
void attention_forward(const VarlenShape& shape, const T* q, const T* k, const T* v, T* out, float* lse,
                       Stream stream) {
  using D = typename OnDevice<T>::type;
  const std::int64_t tiles = tiles_of(shape.longest_q);
  with_lanes(shape.size, [&](auto lanes) {
    cuda::launch(forward_kernel<D, decltype(lanes)::value>,
                 dim3(blocks(shape.sequences * tiles, 1), static_cast<unsigned>(shape.heads)), dim3(kThreads),
                 tiles_bytes(shape, 3, 1), stream_of(stream), shape, tiles, on_device(q), on_device(k), on_device(v),
                 on_device(out), lse);
  });
}

template <typename T>
void attention_backward(const VarlenShape& shape, const T* q, const T* k, const T* v, const T* out, const float* lse,
                        const T* d_out, float* delta, T* dq, T* dk, T* dv, Stream stream) {
  using D = typename OnDevice<T>::type;
  cuda::launch(delta_kernel<D>, dim3(blocks(shape.q_rows * shape.heads, kWarps)), kVectorBlock, 0, stream_of(stream),
               on_device(out), on_device(d_out), shape.q_rows, shape.heads, shape.size, delta);
  const std::size_t shared = tiles_bytes(shape, 4, 2);
  with_lanes(shape.size, [&](auto lanes) {
    constexpr int n = decltype(lanes)::value;
    const auto run = [&](auto kernel, std::int64_t longest, std::int64_t heads, D* first, D* second) {
      cuda::launch(kernel, dim3(blocks(shape.sequences * tiles_of(longest), 1), static_cast<unsigned>(heads)),
                   dim3(kThreads), shared, stream_of(stream), shape, tiles_of(longest), on_device(q), on_device(k),
                   on_device(v), on_device(d_out), lse, static_cast<const float*>(delta), first, second);
    };
    run(backward_kernel<D, n, false>, shape.longest_q, shape.heads, on_device(dq), nullptr);
    run(backward_kernel<D, n, true>, shape.longest_k, shape.kv_heads, on_device(dk), on_device(dv));
  });
}

template <typename T>
void attention_merge(const std::int32_t* rows, std::int64_t count, std::int64_t q_rows, std::int64_t heads,
                     std::int64_t size, const T* part, const float* part_lse, T* out, float* lse, Stream stream) {
  using D = typename OnDevice<T>::type;
  cuda::launch(merge_kernel<D>, dim3(blocks(count * heads, kWarps)), kVectorBlock, 0, stream_of(stream), rows, count,
               q_rows, heads, size, on_device(part), part_lse, on_device(out), lse);
}

#define SETRL_INSTANTIATE(T)                                                                                    \
  template void attention_forward<T>(const VarlenShape&, const T*, const T*, const T*, T*, float*, Stream);     \
  template void attention_backward<T>(const VarlenShape&, const T*, const T*, const T*, const T*, const float*, \
                                      const T*, float*, T*, T*, T*, Stream);                                    \
  template void attention_merge<T>(const std::int32_t*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, \
                                   const T*, const float*, T*, float*, Stream);
SETRL_INSTANTIATE(float)
SETRL_INSTANTIATE(Bfloat16)
#undef SETRL_INSTANTIATE

}  // namespace setrl::learn::gpu
