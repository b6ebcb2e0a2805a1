// Compiled in builds for GPUs, and in tests with CPU tensors on the stand-in's kernels: nothing here asks for a device.
#include "learn/gpu_ops.h"

#include <cstring>

#include "base/error.h"
#include "learn/gpu_kernels.h"
#include "learn/gpu_stream.h"

namespace setrl::learn::gpu {

namespace {

template <typename T>
T* data(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.data_ptr()) : nullptr;
}

// Calls body with a value of the element type.
template <typename Body>
void dispatch(const at::Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == at::kFloat) {
    body(float{});
  } else {
    SETRL_CHECK(tensor.scalar_type() == at::kBFloat16, "the learner computes in float32 or bfloat16");
    body(Bfloat16{});
  }
}

void check_rows(const at::Tensor& x) {
  SETRL_CHECK(x.dim() == 2 && x.is_contiguous(), "rows must be contiguous");
}

at::Tensor floats(std::initializer_list<std::int64_t> shape, const at::Tensor& like) {
  return at::empty(shape, like.options().dtype(at::kFloat));
}

// Memory for the parts of a sum, and what adds them to `sum`; nothing where that is undefined.
class Parts {
 public:
  Parts(std::int64_t rows, std::int64_t width, at::Tensor sum) : width_(width), sum_(std::move(sum)) {
    if (sum_.defined()) parts_ = floats({reduction_parts(rows), width}, sum_);
  }
  float* memory() const { return data<float>(parts_); }
  void add() const {
    if (sum_.defined()) add_parts(data<float>(parts_), parts_.size(0), width_, data<float>(sum_), current_stream());
  }

 private:
  std::int64_t width_;
  at::Tensor sum_, parts_;
};

// Host memory of T as [count, numbers] of a dtype on a tensor's device.
template <typename T>
at::Tensor to_device(const T* values, std::int64_t count, at::ScalarType dtype, const at::Tensor& like) {
  const std::int64_t numbers = static_cast<std::int64_t>(sizeof(T) / c10::elementSize(dtype));
  return at::from_blob(const_cast<T*>(values), {count, numbers}, dtype).to(like.device());
}

Vectors heads_of(const at::Tensor& x, std::int64_t heads, std::int64_t size) {
  return {x.size(0), heads, size, x.size(1)};
}

}  // namespace

Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  check_rows(x);
  Normed result{at::empty_like(x), floats({x.size(0)}, x)};
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    rms_norm(heads_of(x, 1, x.size(1)), data<T>(x), data<T>(weight), static_cast<float>(epsilon), data<T>(result.out),
             data<float>(result.rstd), current_stream());
  });
  return result;
}

at::Tensor rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                             const at::Tensor& dy, const at::Tensor& residual, at::Tensor weight_gradient) {
  check_rows(x);
  check_rows(dy);
  const at::Tensor dx = at::empty_like(x);
  const Parts parts(x.size(0), x.size(1), std::move(weight_gradient));
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    rms_norm_backward<T>(heads_of(x, 1, x.size(1)), data<T>(x), data<T>(weight), data<float>(rstd), data<T>(dy),
                         data<T>(residual), data<T>(dx), parts.memory(), current_stream());
  });
  parts.add();
  return dx;
}

at::Tensor head_norm_(at::Tensor x, std::int64_t begin, std::int64_t heads, const at::Tensor& weight, double epsilon) {
  check_rows(x);
  const at::Tensor rstd = floats({x.size(0), heads}, x);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    T* at = data<T>(x) + begin;
    rms_norm<T>(heads_of(x, heads, weight.size(0)), at, data<T>(weight), static_cast<float>(epsilon), at,
                data<float>(rstd), current_stream());
  });
  return rstd;
}

void head_norm_backward_(const at::Tensor& x, std::int64_t begin, std::int64_t heads, const at::Tensor& weight,
                         const at::Tensor& rstd, at::Tensor dy_inout, at::Tensor weight_gradient) {
  check_rows(x);
  check_rows(dy_inout);
  const Vectors shape = heads_of(x, heads, weight.size(0));
  const Parts parts(shape.count(), shape.width, std::move(weight_gradient));
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    T* dy = data<T>(dy_inout) + begin;
    rms_norm_backward<T>(shape, data<T>(x) + begin, data<T>(weight), data<float>(rstd), dy, nullptr, dy, parts.memory(),
                         current_stream());
  });
  parts.add();
}

void rope_(at::Tensor x, const model::Rope& rotation, std::int64_t heads, std::int64_t size, float direction) {
  check_rows(x);
  check_rows(rotation.cos);
  check_rows(rotation.sin);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    rope(heads_of(x, heads, size), data<T>(x), data<float>(rotation.cos), data<float>(rotation.sin), direction,
         current_stream());
  });
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  check_rows(gate_up);
  const at::Tensor out = at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
  dispatch(gate_up, [&](auto type) {
    using T = decltype(type);
    swiglu<T>(data<T>(gate_up), out.size(0), out.size(1), data<T>(out), current_stream());
  });
  return out;
}

at::Tensor swiglu_backward_(at::Tensor gate_up, const at::Tensor& d_out) {
  check_rows(gate_up);
  check_rows(d_out);
  const at::Tensor out = at::empty_like(d_out);
  dispatch(gate_up, [&](auto type) {
    using T = decltype(type);
    swiglu_backward<T>(data<T>(gate_up), data<T>(d_out), out.size(0), out.size(1), data<T>(out), current_stream());
  });
  return out;
}

void softmax_stats(const at::Tensor& logits, const std::int32_t* targets, double temperature, RowStats* stats) {
  check_rows(logits);
  const std::int64_t rows = logits.size(0);
  const at::Tensor ids = to_device(targets, rows, at::kInt, logits);
  static_assert(sizeof(RowStats) == 3 * sizeof(float));
  const at::Tensor result = floats({rows, 3}, logits);
  dispatch(logits, [&](auto type) {
    using T = decltype(type);
    softmax_stats<T>(data<T>(logits), rows, logits.size(1), data<std::int32_t>(ids),
                     static_cast<float>(1 / temperature), data<RowStats>(result), current_stream());
  });
  const at::Tensor host = result.to(at::kCPU);
  std::memcpy(stats, host.data_ptr(), static_cast<std::size_t>(host.nbytes()));
}

void softmax_gradient_(at::Tensor logits, const std::int32_t* targets, double temperature, const RowStats* stats,
                       const float* gradients) {
  check_rows(logits);
  const std::int64_t rows = logits.size(0);
  const at::Tensor ids = to_device(targets, rows, at::kInt, logits);
  const at::Tensor known = to_device(stats, rows, at::kFloat, logits);
  const at::Tensor d_logprob = to_device(gradients, rows, at::kFloat, logits);
  dispatch(logits, [&](auto type) {
    using T = decltype(type);
    softmax_gradient<T>(data<T>(logits), rows, logits.size(1), data<std::int32_t>(ids),
                        static_cast<float>(1 / temperature), data<RowStats>(known), data<float>(d_logprob),
                        current_stream());
  });
}

void add_to_float(const at::Tensor& x, at::Tensor sum) {
  SETRL_CHECK(x.is_contiguous() && sum.is_contiguous() && x.numel() == sum.numel(), "shapes differ");
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    add_to_float<T>(data<T>(x), x.numel(), data<float>(sum), current_stream());
  });
}

void column_sum(const at::Tensor& x, at::Tensor sum) {
  check_rows(x);
  const Parts parts(x.size(0), x.size(1), std::move(sum));
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    column_sum<T>(data<T>(x), x.size(0), x.size(1), parts.memory(), current_stream());
  });
  parts.add();
}

void from_float(const at::Tensor& x, at::Tensor out) {
  SETRL_CHECK(x.is_contiguous() && out.is_contiguous() && x.numel() == out.numel(), "shapes differ");
  dispatch(out, [&](auto type) {
    using T = decltype(type);
    from_float<T>(data<float>(x), x.numel(), data<T>(out), current_stream());
  });
}

void add_rows(const at::Tensor& x, const at::Tensor& ids, at::Tensor sum) {
  check_rows(x);
  // Stable: rows with equal ids are added in order.
  const auto [sorted, order] = at::sort(ids, std::optional<bool>(true), 0, false);
  const std::int64_t *ascending = data<std::int64_t>(sorted), *places = data<std::int64_t>(order);
  dispatch(x, [&, ascending, places](auto type) {
    using T = decltype(type);
    add_rows<T>(data<T>(x), x.size(0), x.size(1), ascending, places, data<float>(sum), current_stream());
  });
}

void adamw(at::Tensor weights, at::Tensor moment1, at::Tensor moment2, const at::Tensor& gradient,
           const AdamwStep& step) {
  adamw(data<float>(weights), data<float>(moment1), data<float>(moment2), data<float>(gradient), weights.numel(), step,
        current_stream());
}

double sum_of_squares(const at::Tensor& x) {
  const at::Tensor parts = at::empty({square_parts(x.numel())}, x.options().dtype(at::kDouble));
  sum_of_squares(data<float>(x), x.numel(), data<double>(parts), current_stream());
  const at::Tensor host = parts.to(at::kCPU);
  double sum = 0;
  for (std::int64_t i = 0; i < host.numel(); ++i) sum += data<double>(host)[i];
  return sum;
}

}  // namespace setrl::learn::gpu
