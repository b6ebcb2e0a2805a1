// Bodies of the kernels for vectors of L floats (GCC vector extensions), included by one source per instruction set.
// All in an unnamed namespace: the linker must never swap a function compiled for a newer CPU into another source.
// A traits type says: kLanes, kPanels (panels made at once: 1 or 2), kMaxRows, Act, kBf16 (storage), kNativeDot.
#pragma once

#include <utility>  // types only

#include "rollout/kernels.h"
#include "rollout/layout.h"

namespace setrl::rollout {
namespace {

#define SETRL_INLINE inline __attribute__((always_inline))

template <int L>
struct Lanes {
  typedef float F __attribute__((vector_size(L * 4)));
  typedef std::int32_t I __attribute__((vector_size(L * 4)));
};

template <class V>
SETRL_INLINE V load(const void* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
template <class V>
SETRL_INLINE void store(void* to, V value) {
  __builtin_memcpy(to, &value, sizeof value);
}
template <class V>
SETRL_INLINE V broadcast(float x) {
  return x - V{};
}
// The 32-bit word at `from` in every lane, bit for bit (it may be a pair of bfloat16 numbers).
template <int L>
SETRL_INLINE typename Lanes<L>::F broadcast_word(const char* from) {
  std::int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  const typename Lanes<L>::I words = word - typename Lanes<L>::I{};
  typename Lanes<L>::F bits;
  __builtin_memcpy(&bits, &words, sizeof words);
  return bits;
}
template <int L>
SETRL_INLINE typename Lanes<L>::F load_tail(const float* from, std::int64_t n, float fill) {
  float buffer[L];
  for (int i = 0; i < L; ++i) buffer[i] = i < n ? from[i] : fill;
  return load<typename Lanes<L>::F>(buffer);
}
// Sum of the lanes, always by halves.
template <int L>
SETRL_INLINE float sum_lanes(typename Lanes<L>::F v) {
  float buffer[L];
  store(buffer, v);
  for (int half = L / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) buffer[i] += buffer[i + half];
  }
  return buffer[0];
}

// exp(x), relative error about 1e-7, for x <= 88; 0 below -87. Range reduction by ln 2, then the degree-5 polynomial of
// Cephes' expf.
template <int L>
SETRL_INLINE typename Lanes<L>::F vector_exp(typename Lanes<L>::F x) {
  using F = typename Lanes<L>::F;
  using I = typename Lanes<L>::I;
  const F low = broadcast<F>(-87.0f), high = broadcast<F>(88.0f);
  const I alive = x >= low;
  x = x > low ? x : low;
  x = x < high ? x : high;
  const F magic = broadcast<F>(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F shifted = x * 1.44269504088896341f + magic;
  const F n = shifted - magic;
  const F r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  F p = broadcast<F>(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.0f);
  I bits, exponent;
  __builtin_memcpy(&bits, &p, sizeof bits);
  __builtin_memcpy(&exponent, &shifted, sizeof exponent);
  bits += (exponent - 0x4b400000) << 23;  // the bits of `magic`
  bits &= alive;
  F result;
  __builtin_memcpy(&result, &bits, sizeof result);
  return result;
}

// One tile of up to kMaxRows rows. Rows are addressed as groups of three pointers plus 0, 1, 2 strides: that fits the
// address forms of x86, so the loop over k holds no row arithmetic.
template <class T, int R>
void tile_rows(const TileCall& call) {
  constexpr int L = T::kLanes, kParts = 16 / L, kVectors = T::kPanels * kParts, kGroups = (R + 2) / 3;
  constexpr int kStep = T::kBf16 ? 2 : 1, kActStep = kStep * static_cast<int>(sizeof(typename T::Act));
  using F = typename Lanes<L>::F;
  using I = typename Lanes<L>::I;
  const std::int64_t stride = call.a_stride, steps = (call.depth + kStep - 1) / kStep;
  for (int panel = 0; panel < 2; panel += T::kPanels) {
    F acc[R][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) acc[r][v] = F{};
    }
    const char* a[kGroups];
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) a[g] = static_cast<const char*>(call.a) + 3 * g * stride;
    const char* b = static_cast<const char*>(call.b) + panel * call.panel_bytes;
    const char* ahead = call.prefetch;
    for (std::int64_t s = 0; s < steps; ++s) {
      __builtin_prefetch(ahead, 0, 2);
      __builtin_prefetch(ahead + 64, 0, 2);
      ahead += call.prefetch_step;
      if constexpr (T::kNativeDot || !T::kBf16) {
        F weights[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          weights[v] = load<F>(b + (v / kParts) * call.panel_bytes + (v % kParts) * sizeof(F));
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const F x = broadcast_word<L>(a[r / 3] + (r % 3) * stride);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) acc[r][v] = T::multiply_add(acc[r][v], x, weights[v]);
        }
      } else {
        F even[kVectors], odd[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          const I pair = load<I>(b + (v / kParts) * call.panel_bytes + (v % kParts) * sizeof(F));
          const I low = pair << 16, high = pair & static_cast<std::int32_t>(0xffff0000u);
          __builtin_memcpy(&even[v], &low, sizeof low);
          __builtin_memcpy(&odd[v], &high, sizeof high);
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const char* from = a[r / 3] + (r % 3) * stride;
          const F x0 = broadcast_word<L>(from), x1 = broadcast_word<L>(from + 4);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) {
            acc[r][v] += x0 * even[v];
            acc[r][v] += x1 * odd[v];
          }
        }
      }
#pragma GCC unroll 16
      for (int g = 0; g < kGroups; ++g) a[g] += kActStep;
      b += 64;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        float* to = call.c + r * call.c_stride + panel * 16 + v * L;
        store(to, call.add ? load<F>(to) + acc[r][v] : acc[r][v]);
      }
    }
  }
}

// tile_rows for each number of rows.
template <class T, class Rows>
struct TileTable;
template <class T, int... R>
struct TileTable<T, std::integer_sequence<int, R...>> {
  static constexpr void (*kCalls[])(const TileCall&) = {tile_rows<T, R + 1>...};
};

template <class T>
void tile_any(int rows, const TileCall& call) {
  TileTable<T, std::make_integer_sequence<int, T::kMaxRows>>::kCalls[rows - 1](call);
}

template <class T>
float inverse_rms(const float* x, float epsilon, std::int64_t n) {
  constexpr int L = T::kLanes;
  using F = typename Lanes<L>::F;
  F sum = {};
  std::int64_t i = 0;
  for (; i + L <= n; i += L) {
    const F v = load<F>(x + i);
    sum += v * v;
  }
  if (i < n) {
    const F v = load_tail<L>(x + i, n - i, 0.0f);
    sum += v * v;
  }
  return 1.0f / __builtin_sqrtf(sum_lanes<L>(sum) / static_cast<float>(n) + epsilon);
}

template <class T>
void rms_norm(const float* x, const float* weight, float epsilon, std::int64_t n, void* out) {
  using F = typename Lanes<T::kLanes>::F;
  const float factor = inverse_rms<T>(x, epsilon, n);
  auto* to = static_cast<typename T::Act*>(out);
  std::int64_t i = 0;
  for (; i + T::kLanes <= n; i += T::kLanes) T::store_act(to + i, load<F>(x + i) * factor * load<F>(weight + i));
  for (; i < n; ++i) T::store_act_scalar(to + i, x[i] * factor * weight[i]);
}

template <class T>
void norm_head(float* x, const float* weight, float epsilon, std::int64_t n) {
  const float factor = inverse_rms<T>(x, epsilon, n);
  for (std::int64_t i = 0; i < n; ++i) x[i] = x[i] * factor * weight[i];
}

template <class T>
void rotate(float* x, const float* cos, const float* sin, std::int64_t half) {
  float* y = x + half;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = y[i];
    x[i] = a * cos[i] - b * sin[i];
    y[i] = b * cos[i] + a * sin[i];
  }
}

template <class T>
void to_act(const float* x, float factor, std::int64_t n, void* out) {
  using F = typename Lanes<T::kLanes>::F;
  auto* to = static_cast<typename T::Act*>(out);
  std::int64_t i = 0;
  for (; i + T::kLanes <= n; i += T::kLanes) T::store_act(to + i, load<F>(x + i) * factor);
  for (; i < n; ++i) T::store_act_scalar(to + i, x[i] * factor);
}

template <class T>
void silu_mul(const float* tile, int rows, void* out, std::int64_t out_stride_bytes) {
  using F = typename Lanes<T::kLanes>::F;
  for (int r = 0; r < rows; ++r) {
    auto* to = reinterpret_cast<typename T::Act*>(static_cast<char*>(out) + r * out_stride_bytes);
    for (int i = 0; i < 16; i += T::kLanes) {
      const F gate = load<F>(tile + r * 32 + i), up = load<F>(tile + r * 32 + 16 + i);
      T::store_act(to + i, gate / (vector_exp<T::kLanes>(-gate) + 1.0f) * up);
    }
  }
}

template <class T>
float softmax(float* scores, std::int64_t length, std::int64_t padded, float scale, void* probs) {
  constexpr int L = T::kLanes;
  using F = typename Lanes<L>::F;
  for (std::int64_t i = length; i < padded; ++i) scores[i] = -__builtin_inff();
  F top = load<F>(scores);
  for (std::int64_t i = L; i < padded; i += L) {
    const F v = load<F>(scores + i);
    top = top > v ? top : v;
  }
  float max = top[0];
  for (int i = 1; i < L; ++i) max = max > top[i] ? max : top[i];
  F sum = {};
  auto* to = static_cast<typename T::Act*>(probs);
  for (std::int64_t i = 0; i < padded; i += L) {
    const F p = vector_exp<L>((load<F>(scores + i) - max) * scale);
    sum += p;
    T::store_act(to + i, p);
  }
  return sum_lanes<L>(sum);
}

template <class T>
bool max_logit(const float* logits, std::int64_t n, float* max) {
  constexpr int L = T::kLanes;
  using F = typename Lanes<L>::F;
  using I = typename Lanes<L>::I;
  F top = broadcast<F>(logits[0]);
  I finite = ~I{};
  for (std::int64_t i = 0; i < n; i += L) {
    const F v = i + L <= n ? load<F>(logits + i) : load_tail<L>(logits + i, n - i, logits[0]);
    finite &= (v - v == F{});
    top = top > v ? top : v;
  }
  bool good = true;
  *max = top[0];
  for (int i = 0; i < L; ++i) {
    *max = *max > top[i] ? *max : top[i];
    good = good && finite[i] != 0;
  }
  return good;
}

template <class T>
float exp_weights(const float* logits, std::int64_t n, float max, float inverse_temperature, float* weights) {
  constexpr int L = T::kLanes;
  using F = typename Lanes<L>::F;
  F sum = {};
  for (std::int64_t i = 0; i < n; i += L) {
    const F v = i + L <= n ? load<F>(logits + i) : load_tail<L>(logits + i, n - i, -__builtin_inff());
    const F w = vector_exp<L>((v - max) * inverse_temperature);
    sum += w;
    if (weights == nullptr) continue;
    if (i + L <= n) {
      store(weights + i, w);
    } else {
      for (std::int64_t j = 0; j < n - i; ++j) weights[i + j] = w[j];
    }
  }
  return sum_lanes<L>(sum);
}

inline void hold_nothing() {}

template <class T>
constexpr Kernels make_kernels(const char* name, int max_rows = T::kMaxRows,
                               void (*tile)(int, const TileCall&) = tile_any<T>, void (*release)() = hold_nothing) {
  return {name,          max_rows,   static_cast<int>(sizeof(typename T::Act)),
          tile,          release,    rms_norm<T>,
          norm_head<T>,  rotate<T>,  to_act<T>,
          silu_mul<T>,   softmax<T>, max_logit<T>,
          exp_weights<T>};
}

// Traits of the instruction sets that multiply in float32.
template <int L, int Panels, int MaxRows, bool Bf16Storage>
struct Float32Traits {
  static constexpr int kLanes = L, kPanels = Panels, kMaxRows = MaxRows;
  static constexpr bool kBf16 = Bf16Storage, kNativeDot = false;
  using Act = float;
  using F = typename Lanes<L>::F;
  static SETRL_INLINE F multiply_add(F acc, F x, F w) { return acc + x * w; }
  static SETRL_INLINE void store_act(float* to, F v) { store(to, v); }
  static SETRL_INLINE void store_act_scalar(float* to, float v) { *to = v; }
};

}  // namespace
}  // namespace setrl::rollout
