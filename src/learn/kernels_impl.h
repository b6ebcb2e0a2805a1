// Included by kernels_*.cpp only, each compiled for one instruction set. Everything has internal linkage, and no
// standard library templates are used, so that no code for a newer instruction set can be linked into the rest of the
// program. Loops are written for the compiler's vectoriser; `omp simd` allows it to reorder the marked sums.
#pragma once

#include "learn/kernels.h"

namespace setrl::learn {
namespace {

inline float bits_to_float(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}
inline std::uint32_t float_to_bits(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float load(const float& x) {
  return x;
}
inline float load(const Bfloat16& x) {
  return bits_to_float(static_cast<std::uint32_t>(x.bits) << 16);
}
inline void store(float& x, float value) {
  x = value;
}
// Round to nearest, ties to even. The quiet NaNs that arithmetic makes stay NaN.
inline void store(Bfloat16& x, float value) {
  const std::uint32_t bits = float_to_bits(value);
  x.bits = static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Range reduction by ln 2 and a polynomial (Cephes' expf), relative error about 1e-7. NaN stays NaN.
inline float exp_approx(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer held in the low bits
  const float shifted = x * 1.44269504088896341f + magic;
  const float n = shifted - magic;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const std::uint32_t exponent = (float_to_bits(shifted) - float_to_bits(magic) + 127u) << 23;
  return p * bits_to_float(exponent);
}

template <typename T>
void rms_norm(const T* x, std::int64_t x_stride, const T* weight, float epsilon, std::int64_t rows, std::int64_t width,
              T* out, std::int64_t out_stride, float* rstd) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* in = x + row * x_stride;
    T* to = out + row * out_stride;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < width; ++i) {
      const float v = load(in[i]);
      sum += v * v;
    }
    const float scale = 1.0f / __builtin_sqrtf(sum / static_cast<float>(width) + epsilon);
    rstd[row] = scale;
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) store(to[i], load(in[i]) * scale * load(weight[i]));
  }
}

template <typename T>
void rms_norm_backward(const T* x, std::int64_t x_stride, const T* weight, const float* rstd, const T* dy,
                       std::int64_t dy_stride, const T* residual, std::int64_t rows, std::int64_t width, T* dx,
                       std::int64_t dx_stride, float* weight_gradient) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* in = x + row * x_stride;
    const T* up = dy + row * dy_stride;
    T* to = dx + row * dx_stride;
    const float scale = rstd[row];
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t i = 0; i < width; ++i) dot += load(in[i]) * load(up[i]) * load(weight[i]);
    const float mean = dot * scale * scale / static_cast<float>(width);
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) weight_gradient[i] += load(in[i]) * scale * load(up[i]);
    if (residual != nullptr) {
      const T* add = residual + row * dx_stride;
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) {
        store(to[i], load(add[i]) + scale * (load(up[i]) * load(weight[i]) - load(in[i]) * mean));
      }
    } else {
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) {
        store(to[i], scale * (load(up[i]) * load(weight[i]) - load(in[i]) * mean));
      }
    }
  }
}

template <typename T>
void rope(T* x, std::int64_t stride, const float* cos, const float* sin, float direction, std::int64_t rows,
          std::int64_t heads, std::int64_t size) {
  const std::int64_t half = size / 2;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* c = cos + row * size;
    const float* s = sin + row * size;
    for (std::int64_t head = 0; head < heads; ++head) {
      T* low = x + row * stride + head * size;
      T* high = low + half;
#pragma omp simd
      for (std::int64_t i = 0; i < half; ++i) {
        const float a = load(low[i]), b = load(high[i]), turn = direction * s[i];
        store(low[i], a * c[i] - b * turn);
        store(high[i], b * c[i] + a * turn);
      }
    }
  }
}

template <typename T>
void swiglu(const T* gate_up, std::int64_t rows, std::int64_t inner, T* out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * inner;
    const T* up = gate + inner;
    T* to = out + row * inner;
#pragma omp simd
    for (std::int64_t i = 0; i < inner; ++i) {
      const float g = load(gate[i]);
      const float silu = g * (1.0f / (1.0f + exp_approx(-g)));
      store(to[i], silu * load(up[i]));
    }
  }
}

template <typename T>
void swiglu_backward(const T* gate_up, const T* d_out, std::int64_t rows, std::int64_t inner, T* out, T* d_gate_up) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * inner;
    const T* up = gate + inner;
    const T* d = d_out + row * inner;
    T* to = out + row * inner;
    T* d_gate = d_gate_up + row * 2 * inner;
    T* d_up = d_gate + inner;
#pragma omp simd
    for (std::int64_t i = 0; i < inner; ++i) {
      const float g = load(gate[i]), u = load(up[i]), grad = load(d[i]);
      const float sigmoid = 1.0f / (1.0f + exp_approx(-g));
      const float silu = g * sigmoid;
      store(to[i], silu * u);
      store(d_gate[i], grad * u * (sigmoid + silu * (1.0f - sigmoid)));
      store(d_up[i], grad * silu);
    }
  }
}

template <typename T>
RowStats softmax_stats(const T* logits, std::int64_t vocabulary, std::int64_t target, float inverse_temperature) {
  float largest = load(logits[0]);
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < vocabulary; ++i) {
    const float v = load(logits[i]);
    largest = v > largest ? v : largest;
  }
  float sum = 0, weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
  for (std::int64_t i = 0; i < vocabulary; ++i) {
    const float z = (load(logits[i]) - largest) * inverse_temperature;
    const float e = exp_approx(z);
    sum += e;
    weighted += e * z;
  }
  const float log_sum = __builtin_logf(sum);
  RowStats stats;
  stats.lse = largest * inverse_temperature + log_sum;
  stats.logprob = (load(logits[target]) - largest) * inverse_temperature - log_sum;
  stats.entropy = log_sum - weighted / sum;
  return stats;
}

template <typename T>
void softmax_gradient(T* logits, std::int64_t vocabulary, std::int64_t target, float inverse_temperature, float lse,
                      float gradient) {
  const float scale = gradient * inverse_temperature;
  const float at_target = scale * (1.0f - exp_approx(load(logits[target]) * inverse_temperature - lse));
#pragma omp simd
  for (std::int64_t i = 0; i < vocabulary; ++i) {
    store(logits[i], -scale * exp_approx(load(logits[i]) * inverse_temperature - lse));
  }
  store(logits[target], at_target);
}

template <typename T>
void add_to_float(const T* x, std::int64_t count, float* sum) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) sum[i] += load(x[i]);
}

template <typename T>
void from_float(const float* x, std::int64_t count, T* out) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) store(out[i], x[i]);
}

void adamw(float* weight, float* moment1, float* moment2, const float* gradient, std::int64_t count,
           const AdamwStep& step) {
  const float keep = 1.0f - step.learning_rate * step.weight_decay;
  const float rate = step.learning_rate / step.correction1;
  const float root = 1.0f / __builtin_sqrtf(step.correction2);
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * step.gradient_scale;
    const float m = moment1[i] + (g - moment1[i]) * (1.0f - step.beta1);
    const float v = moment2[i] * step.beta2 + g * g * (1.0f - step.beta2);
    moment1[i] = m;
    moment2[i] = v;
    weight[i] = weight[i] * keep - rate * m / (__builtin_sqrtf(v) * root + step.epsilon);
  }
}

double sum_of_squares(const float* x, std::int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace
}  // namespace setrl::learn

#include "learn/attention_kernels_impl.h"

namespace setrl::learn {
namespace {

template <typename T>
KernelTable<T> table() {
  return {rms_norm<T>,      rms_norm_backward<T>, rope<T>,         swiglu<T>,     swiglu_backward<T>,
          softmax_stats<T>, softmax_gradient<T>,  add_to_float<T>, from_float<T>, attention_table<T>()};
}

Kernels all_kernels(const char* name) {
  return {name, table<float>(), table<Bfloat16>(), {adamw, sum_of_squares}};
}

}  // namespace
}  // namespace setrl::learn
