// The kernels on tensors, rows split over threads; on the GPU where the tensors are there. Shapes: T rows (packed
// tokens), E hidden, I inner, V vocabulary; compute dtype is float32 or bfloat16. Results do not depend on the number
// of threads. A gradient that is undefined (of a frozen weight) is not computed.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "learn/kernels.h"
#include "model/decoder.h"

namespace setrl::learn {

struct Normed {
  at::Tensor out;   // as x
  at::Tensor rstd;  // [T] or [T, heads] float32
};
// x: [T, E] contiguous rows, weight [E].
Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
// d(loss)/dx plus `residual` (where defined, [T, E]); adds to weight_gradient [E] float32.
at::Tensor rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                             const at::Tensor& dy, const at::Tensor& residual, at::Tensor weight_gradient);

// The same over each head of `heads` heads that start at column `begin` of x [T, W], in place.
at::Tensor head_norm_(at::Tensor x, std::int64_t begin, std::int64_t heads, const at::Tensor& weight, double epsilon);
// dy_inout holds d(loss)/d(normed) in those columns and gets d(loss)/dx; x is the input of head_norm_.
void head_norm_backward_(const at::Tensor& x, std::int64_t begin, std::int64_t heads, const at::Tensor& weight,
                         const at::Tensor& rstd, at::Tensor dy_inout, at::Tensor weight_gradient);

// Rotates the first `heads` heads of x [T, W] in place; direction -1 is the inverse (and the backward).
void rope_(at::Tensor x, const model::Rope& rope, std::int64_t heads, std::int64_t size, float direction);

at::Tensor swiglu(const at::Tensor& gate_up);  // [T, 2I] -> [T, I]
// Returns the forward's output again; gate_up becomes d(loss)/d(gate_up).
at::Tensor swiglu_backward_(at::Tensor gate_up, const at::Tensor& d_out);

// logits [C, V], targets [C].
void softmax_stats(const at::Tensor& logits, const std::int32_t* targets, double temperature, RowStats* stats);
// logits becomes d(loss)/d(logits) for d(loss)/d(logprob of row's target) = gradients[row].
void softmax_gradient_(at::Tensor logits, const std::int32_t* targets, double temperature, const RowStats* stats,
                       const float* gradients);

void add_to_float(const at::Tensor& x, at::Tensor sum);  // sum (float32, contiguous) += x
void column_sum(const at::Tensor& x, at::Tensor sum);    // sum [W] float32 += sum over rows of x [T, W]
void from_float(const at::Tensor& x, at::Tensor out);    // rounds to out's dtype
void add_matmul(const at::Tensor& a, const at::Tensor& b, at::Tensor sum);  // sum (float32) += a @ b
// sum [V, E] float32: row ids[t] += rows of x [T, E], in the order of t.
void add_rows(const at::Tensor& x, const at::Tensor& ids, at::Tensor sum);

// One step on flat float32 tensors, or equal parts of them.
void adamw(at::Tensor weights, at::Tensor moment1, at::Tensor moment2, const at::Tensor& gradient,
           const AdamwStep& step);
double sum_of_squares(const at::Tensor& x);  // float32, contiguous

}  // namespace setrl::learn
