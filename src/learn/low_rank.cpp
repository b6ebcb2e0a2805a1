#include "learn/low_rank.h"

#include "learn/tensor_ops.h"

namespace setrl::learn {

void add_low_rank(const Adapter& adapter, double scale, const at::Tensor& x, at::Tensor y) {
  if (!adapter.defined()) return;
  y.addmm_(at::mm(x, adapter.a.t()), adapter.b.t(), 1, scale);
}

at::Tensor add_low_rank_input_gradient(const Adapter& adapter, double scale, const at::Tensor& d_y, at::Tensor d_x) {
  if (!adapter.defined()) return {};
  at::Tensor d_low = at::mm(d_y, adapter.b).mul_(scale);
  d_x.addmm_(d_low, adapter.a);
  return d_low;
}

void add_low_rank_weight_gradient(const Adapter& adapter, double scale, const at::Tensor& x, const at::Tensor& d_y,
                                  const at::Tensor& d_low, const Adapter& gradient) {
  if (!adapter.defined()) return;
  add_matmul(d_low.t(), x, gradient.a);
  add_matmul(d_y.t(), at::mm(x, adapter.a.t()).mul_(scale), gradient.b);
}

at::Tensor merged(const at::Tensor& weight, const Adapter& adapter, double scale) {
  if (!adapter.defined()) return weight;
  at::Tensor sum = weight.to(at::kFloat, false, true);
  sum.addmm_(adapter.b.to(at::kFloat), adapter.a.to(at::kFloat), 1, scale);
  return sum.to(weight.scalar_type());
}

}  // namespace setrl::learn
