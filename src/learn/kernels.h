// Row-wise arithmetic of the learner between its matrix products: one pass over memory each, statistics in float32.
// Plain pointers and no library types, because the same source is compiled for several instruction sets; kernels()
// picks one. T is float or Bfloat16. Every function works on the rows it is given, so callers split rows over threads
// without changing results.
#pragma once

#include <cstdint>

#include "learn/attention_kernels.h"

namespace setrl::learn {

// Storage of a bfloat16 number; bit-compatible with c10::BFloat16.
struct Bfloat16 {
  std::uint16_t bits;
};

// What the log-softmax of one row of logits gives.
struct RowStats {
  float logprob;  // of the target, natural log
  float entropy;  // of the tempered distribution, nats
  float lse;      // log of the sum of exponentials of logit / temperature
};

struct AdamwStep {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
  float correction1, correction2;  // 1 - beta^steps
  float gradient_scale;            // of clipping
};

template <typename T>
struct KernelTable {
  // out = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + epsilon), Zhang and Sennrich 2019. A "row" may be one
  // head: element (row, i) lies at row * stride + i.
  void (*rms_norm)(const T* x, std::int64_t x_stride, const T* weight, float epsilon, std::int64_t rows,
                   std::int64_t width, T* out, std::int64_t out_stride, float* rstd);
  // dx = d(loss)/dx (+ residual, where given, of the same stride as dx); weight_gradient [width] is added to.
  void (*rms_norm_backward)(const T* x, std::int64_t x_stride, const T* weight, const float* rstd, const T* dy,
                            std::int64_t dy_stride, const T* residual, std::int64_t rows, std::int64_t width, T* dx,
                            std::int64_t dx_stride, float* weight_gradient);
  // Rotates halves of `heads` consecutive heads in place by the angle (direction 1) or back (direction -1). cos, sin:
  // [rows, size], both halves equal.
  void (*rope)(T* x, std::int64_t stride, const float* cos, const float* sin, float direction, std::int64_t rows,
               std::int64_t heads, std::int64_t size);
  // gate_up [rows, 2 * inner] -> silu(gate) * up [rows, inner].
  void (*swiglu)(const T* gate_up, std::int64_t rows, std::int64_t inner, T* out);
  // Also recomputes the forward's output; d_gate_up may be gate_up itself.
  void (*swiglu_backward)(const T* gate_up, const T* d_out, std::int64_t rows, std::int64_t inner, T* out,
                          T* d_gate_up);
  RowStats (*softmax_stats)(const T* logits, std::int64_t vocabulary, std::int64_t target, float inverse_temperature);
  // logits -> d(loss)/d(logits) = gradient * inverse_temperature * (onehot(target) - softmax), in place.
  void (*softmax_gradient)(T* logits, std::int64_t vocabulary, std::int64_t target, float inverse_temperature,
                           float lse, float gradient);
  void (*add_to_float)(const T* x, std::int64_t count, float* sum);
  void (*from_float)(const float* x, std::int64_t count, T* out);
  AttentionKernels<T> attention;
};

struct FloatKernels {
  // Decoupled weight decay, Loshchilov and Hutter 2019, in the order of operations of torch.optim.AdamW.
  void (*adamw)(float* weight, float* moment1, float* moment2, const float* gradient, std::int64_t count,
                const AdamwStep& step);
  double (*sum_of_squares)(const float* x, std::int64_t count);
};

struct Kernels {
  const char* name;  // of the instruction set
  KernelTable<float> float32;
  KernelTable<Bfloat16> bfloat16;
  FloatKernels flat;
};

// The best set for this CPU, chosen once.
const Kernels& kernels();

template <typename T>
const KernelTable<T>& kernel_table();
template <>
inline const KernelTable<float>& kernel_table<float>() {
  return kernels().float32;
}
template <>
inline const KernelTable<Bfloat16>& kernel_table<Bfloat16>() {
  return kernels().bfloat16;
}

}  // namespace setrl::learn
