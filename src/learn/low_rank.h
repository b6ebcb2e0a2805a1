// Low-rank additions to a frozen matrix (LoRA, Hu et al. 2021): y = x W^T + scale (x A^T) B^T.
// Shapes: T rows, R rank, I inputs, O outputs.
#pragma once

#include <ATen/ATen.h>

namespace setrl::learn {

struct Adapter {
  at::Tensor a, b;  // [R, I], [O, R]
  bool defined() const { return a.defined(); }
};

// These do nothing where the adapter is undefined. y and d_y [T, O] may be columns of a wider tensor.
void add_low_rank(const Adapter& adapter, double scale, const at::Tensor& x, at::Tensor y);
// Adds to d_x [T, I] and returns d(loss)/d(x A^T) [T, R] for the next function.
at::Tensor add_low_rank_input_gradient(const Adapter& adapter, double scale, const at::Tensor& d_y, at::Tensor d_x);
// Adds to gradient.a, gradient.b (float32).
void add_low_rank_weight_gradient(const Adapter& adapter, double scale, const at::Tensor& x, const at::Tensor& d_y,
                                  const at::Tensor& d_low, const Adapter& gradient);

// W + scale B A, the sum in float32, rounded to W's dtype.
at::Tensor merged(const at::Tensor& weight, const Adapter& adapter, double scale);

}  // namespace setrl::learn
