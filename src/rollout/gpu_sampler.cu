// Sampler (sampler.h) on the device: a block draws one token. Weights exp((logit - max) / temperature), between 0 and
// 1, are integers of 2^-44 from the start, and so are all sums of them: neither the number of threads nor the order of
// atomic additions changes a bit, and the inverse of the cumulative distribution over ids is exact.
#include "base/cuda_kernel.h"
#include "rollout/gpu_kernels.h"
#include "rollout/gpu_storage_impl.h"

namespace setrl::rollout::gpu {

namespace {

using Mass = unsigned long long;

constexpr float kOne = 17592186044416.0f;  // 2^44: the mass of a weight of 1
constexpr int kMostThreads = 1024, kMostWarps = kMostThreads / cuda::kWarp;
constexpr int kDigits = 256;
constexpr int kStep = 4 * cuda::kWarp;  // ids that a warp reads at once
constexpr std::int32_t kLastId = 0x7fffffff;

struct Shared {
  float scratch[cuda::kWarp];
  Mass of_warp[kMostWarps];
  Mass of_digit[kDigits];
  Mass left;
  unsigned digit;
  std::int32_t found;
};

// A row of logits; warp w has ids [w * segment, (w + 1) * segment).
struct Row {
  const float* logits;
  int vocabulary, segment;
  bool aligned;  // for loads of four
};

// Ids at or above it in rank may be drawn.
struct Cut {
  float logit;
  std::int32_t id;
  __device__ bool keeps(float other, std::int32_t other_id) const {
    return other > logit || (other == logit && other_id <= id);
  }
};

// Floats in the order of unsigned integers; both zeros are one.
__device__ __forceinline__ unsigned rank_of(float logit) {
  const float normal = logit + 0.0f;
  unsigned bits;
  memcpy(&bits, &normal, sizeof bits);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float logit_of(unsigned rank) {
  return bits_to_float((rank & 0x80000000u) != 0 ? rank & 0x7fffffffu : ~rank);
}

__device__ __forceinline__ Mass warp_total(Mass value) {
  for (int distance = cuda::kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(cuda::kAllLanes, value, distance);
  }
  return value;
}

// The four logits at `id`; how many there are.
__device__ __forceinline__ int load_logits(const Row& row, int id, int end, float (&logits)[4]) {
  if (row.aligned && id + 4 <= end) {
    load_vector(row.logits + id, logits);
    return 4;
  }
  int count = 0;
  for (; count < 4 && id + count < end; ++count) logits[count] = row.logits[id + count];
  return count;
}

// body(id, logit) of this thread's share of its warp's segment.
template <class Body>
__device__ __forceinline__ void for_each_id(const Row& row, const Body& body) {
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp, warp = static_cast<int>(threadIdx.x) / cuda::kWarp;
  const int begin = warp * row.segment;
  const int end = begin + row.segment < row.vocabulary ? begin + row.segment : row.vocabulary;
  for (int id = begin + 4 * lane; id < end; id += kStep) {
    float logits[4];
    const int count = load_logits(row, id, end, logits);
    for (int i = 0; i < count; ++i) body(id + i, logits[i]);
  }
}

// Sum of weight(id, logit) over the vocabulary, for all threads; leaves those of the segments in `shared`.
template <class Weight>
__device__ Mass total_of(const Row& row, const Weight& weight, Shared& shared) {
  Mass mine = 0;
  for_each_id(row, [&](int id, float logit) { mine += weight(id, logit); });
  mine = warp_total(mine);
  __syncthreads();  // the last use of of_warp
  if (threadIdx.x % cuda::kWarp == 0) shared.of_warp[threadIdx.x / cuda::kWarp] = mine;
  __syncthreads();
  Mass total = 0;
  for (unsigned w = 0; w < blockDim.x / cuda::kWarp; ++w) total += shared.of_warp[w];
  return total;
}

// The first id up to which the weights add up to more than `target`; after total_of with the same weights, of which
// `target` is less.
template <class Weight>
__device__ std::int32_t find(const Row& row, const Weight& weight, Mass target, Shared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp, warp = static_cast<int>(threadIdx.x) / cuda::kWarp;
  int segment = 0;
  for (; target >= shared.of_warp[segment]; ++segment) target -= shared.of_warp[segment];
  if (warp == segment) {
    const int begin = warp * row.segment;
    const int end = begin + row.segment < row.vocabulary ? begin + row.segment : row.vocabulary;
    for (int at = begin; at < end; at += kStep) {
      const int id = at + 4 * lane;
      float logits[4];
      const int count = load_logits(row, id, end, logits);
      Mass mine = 0;
      for (int i = 0; i < count; ++i) mine += weight(id + i, logits[i]);
      Mass up_to = mine;  // of all lanes up to this one
      for (unsigned distance = 1; distance < cuda::kWarp; distance *= 2) {
        const Mass below = __shfl_up_sync(cuda::kAllLanes, up_to, distance);
        if (lane >= static_cast<int>(distance)) up_to += below;
      }
      const Mass all = __shfl_sync(cuda::kAllLanes, up_to, cuda::kWarp - 1);
      if (target >= all) {
        target -= all;
        continue;
      }
      Mass before = up_to - mine;
      if (before <= target && target < up_to) {
        for (int i = 0; i < count; ++i) {
          before += weight(id + i, logits[i]);
          if (before <= target) continue;
          shared.found = id + i;
          break;
        }
      }
      break;
    }
  }
  __syncthreads();
  return shared.found;
}

// The smallest set in the order of rank (larger logits first, equal ones by id) whose weights add up to `wanted`, which
// is at least 1 and at most all of them. Radix select over the bits of the logits.
template <class Weight>
__device__ Cut cut_at(const Row& row, const Weight& weight, Mass wanted, Shared& shared) {
  unsigned prefix = 0, known = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (unsigned i = threadIdx.x; i < kDigits; i += blockDim.x) shared.of_digit[i] = 0;
    __syncthreads();
    for_each_id(row, [&](int id, float logit) {
      const unsigned rank = rank_of(logit);
      if ((rank & known) != prefix) return;
      const Mass mass = weight(id, logit);
      if (mass > 0) atomicAdd(&shared.of_digit[rank >> shift & 255u], mass);
    });
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned digit = kDigits - 1;
      for (; wanted > shared.of_digit[digit]; --digit) wanted -= shared.of_digit[digit];
      shared.digit = digit;
      shared.left = wanted;
    }
    __syncthreads();
    wanted = shared.left;
    prefix |= shared.digit << shift;
    known |= 255u << shift;
  }
  const auto tied = [&](int id, float logit) { return rank_of(logit) == prefix ? weight(id, logit) : Mass{0}; };
  total_of(row, tied, shared);
  return {logit_of(prefix), find(row, tied, wanted - 1, shared)};
}

__global__ void __launch_bounds__(kMostThreads) sample_kernel(const float* logits, std::int64_t stride, int vocabulary,
                                                              const DrawOrder* orders, DrawResult* results) {
  __shared__ Shared shared;
  const DrawOrder& order = orders[blockIdx.x];
  if (order.logits < 0) return;
  const int warps = static_cast<int>(blockDim.x) / cuda::kWarp;
  const int share = (vocabulary + warps - 1) / warps;
  const Row row = {logits + order.logits * stride, vocabulary, (share + kStep - 1) / kStep * kStep, stride % 4 == 0};

  float max = row.logits[0], bad = 0;
  for_each_id(row, [&](int, float logit) {
    max = fmaxf(max, logit);
    if (!(logit - logit == 0)) bad = 1;
  });
  bad = cuda::block_max(bad, shared.scratch);
  max = cuda::block_max(max, shared.scratch);
  DrawResult& result = results[blockIdx.x];
  if (bad > 0) {
    if (threadIdx.x == 0) result = DrawResult{};
    return;
  }

  const auto mass = [&](int, float logit) {
    return static_cast<Mass>(expf((logit - max) * order.inverse_temperature) * kOne);
  };
  const Mass total = total_of(row, mass, shared);
  std::int32_t id = order.forced;
  if (id < 0 && order.greedy != 0) {
    const auto largest = [&](int, float logit) { return Mass{logit == max ? 1u : 0u}; };
    total_of(row, largest, shared);
    id = find(row, largest, 0, shared);
  } else if (id < 0) {
    Cut cut = {-3.402823466e38f, kLastId};
    if (order.top_k > 0 && order.top_k < vocabulary) {
      cut = cut_at(
          row, [](int, float) { return Mass{1}; }, static_cast<Mass>(order.top_k), shared);
    }
    const auto kept_mass = [&](int other, float logit) {
      return cut.keeps(logit, other) ? mass(other, logit) : Mass{0};
    };
    Mass kept = total_of(row, kept_mass, shared);
    const bool narrower = order.top_p < 1 || order.has_min_p != 0;
    if (order.top_p < 1) {
      const auto wanted = static_cast<Mass>(ceil(order.top_p * static_cast<double>(kept)));
      const Cut nucleus = cut_at(row, kept_mass, wanted < 1 ? 1 : wanted < kept ? wanted : kept, shared);
      cut = nucleus;
    }
    if (order.has_min_p != 0) {
      const auto lowest = static_cast<float>(static_cast<double>(max) + order.min_p_distance);
      if (lowest > cut.logit) cut = {lowest, kLastId};
    }
    if (narrower) kept = total_of(row, kept_mass, shared);
    const auto target = static_cast<Mass>(order.uniform * static_cast<double>(kept));
    id = find(row, kept_mass, target < kept ? target : kept - 1, shared);
  }
  if (threadIdx.x == 0) {
    const double log_total = log(static_cast<double>(total) / static_cast<double>(kOne));
    const double distance = static_cast<double>(row.logits[id]) - static_cast<double>(max);
    result = {id, static_cast<float>(distance / order.temperature - log_total), 1, 0};
  }
}

}  // namespace

void sample(const float* logits, std::int64_t stride, std::int64_t vocabulary, const DrawOrder* orders,
            std::int64_t count, DrawResult* results, int threads, Stream stream) {
  if (threads == 0) {
    const std::int64_t wanted = (vocabulary / 16 + cuda::kWarp - 1) / cuda::kWarp * cuda::kWarp;
    threads = static_cast<int>(wanted < cuda::kWarp ? cuda::kWarp : wanted > kMostThreads ? kMostThreads : wanted);
  }
  cuda::launch(sample_kernel, dim3(static_cast<unsigned>(count)), dim3(static_cast<unsigned>(threads)), 0,
               static_cast<cudaStream_t>(stream), logits, stride, static_cast<int>(vocabulary), orders, results);
}

}  // namespace setrl::rollout::gpu
