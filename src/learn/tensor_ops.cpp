#include "learn/tensor_ops.h"

#include <ATen/Parallel.h>

#include "base/error.h"
#include "learn/gpu_ops.h"

namespace setrl::learn {

namespace {

constexpr std::int64_t kGrain = 16;    // rows a thread takes at least
constexpr std::int64_t kBlock = 128;   // rows whose weight gradients are summed together: fixes the order of summation
constexpr std::int64_t kSpan = 65536;  // elements of flat work that belong together

template <typename T>
T* data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
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

// Runs body(begin, end, partial) over blocks of rows and adds the partial sums [width] in the order of the blocks,
// where `sum` is defined.
template <typename Body>
void sum_over_blocks(std::int64_t rows, std::int64_t width, at::Tensor sum, const Body& body) {
  const std::int64_t blocks = (rows + kBlock - 1) / kBlock;
  const at::Tensor partial = at::zeros({blocks, width}, at::kFloat);
  float* partials = data<float>(partial);
  at::parallel_for(0, blocks, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t block = first; block < last; ++block) {
      body(block * kBlock, std::min(rows, (block + 1) * kBlock), partials + block * width);
    }
  });
  if (!sum.defined()) return;
  float* total = data<float>(sum);
  for (std::int64_t block = 0; block < blocks; ++block) {
    kernels().float32.add_to_float(partials + block * width, width, total);
  }
}

}  // namespace

Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (x.is_cuda()) return gpu::rms_norm(x, weight, epsilon);
  check_rows(x);
  Normed result{at::empty_like(x), at::empty({x.size(0)}, at::kFloat)};
  const std::int64_t width = x.size(1);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, x.size(0), kGrain, [&](std::int64_t begin, std::int64_t end) {
      kernel_table<T>().rms_norm(data<T>(x) + begin * width, width, data<T>(weight), static_cast<float>(epsilon),
                                 end - begin, width, data<T>(result.out) + begin * width, width,
                                 data<float>(result.rstd) + begin);
    });
  });
  return result;
}

at::Tensor rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                             const at::Tensor& dy, const at::Tensor& residual, at::Tensor weight_gradient) {
  if (x.is_cuda()) return gpu::rms_norm_backward(x, weight, rstd, dy, residual, weight_gradient);
  check_rows(x);
  check_rows(dy);
  const at::Tensor dx = at::empty_like(x);
  const std::int64_t width = x.size(1);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    sum_over_blocks(x.size(0), width, weight_gradient, [&](std::int64_t begin, std::int64_t end, float* partial) {
      const std::int64_t at = begin * width;
      kernel_table<T>().rms_norm_backward(
          data<T>(x) + at, width, data<T>(weight), data<float>(rstd) + begin, data<T>(dy) + at, width,
          residual.defined() ? data<T>(residual) + at : nullptr, end - begin, width, data<T>(dx) + at, width, partial);
    });
  });
  return dx;
}

at::Tensor head_norm_(at::Tensor x, std::int64_t begin, std::int64_t heads, const at::Tensor& weight, double epsilon) {
  if (x.is_cuda()) return gpu::head_norm_(x, begin, heads, weight, epsilon);
  check_rows(x);
  const at::Tensor rstd = at::empty({x.size(0), heads}, at::kFloat);
  const std::int64_t size = weight.size(0), width = x.size(1);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, x.size(0), kGrain, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        T* at = data<T>(x) + row * width + begin;
        kernel_table<T>().rms_norm(at, size, data<T>(weight), static_cast<float>(epsilon), heads, size, at, size,
                                   data<float>(rstd) + row * heads);
      }
    });
  });
  return rstd;
}

void head_norm_backward_(const at::Tensor& x, std::int64_t begin, std::int64_t heads, const at::Tensor& weight,
                         const at::Tensor& rstd, at::Tensor dy_inout, at::Tensor weight_gradient) {
  if (x.is_cuda()) return gpu::head_norm_backward_(x, begin, heads, weight, rstd, dy_inout, weight_gradient);
  check_rows(x);
  check_rows(dy_inout);
  const std::int64_t size = weight.size(0), width = x.size(1);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    sum_over_blocks(x.size(0), size, weight_gradient, [&](std::int64_t first, std::int64_t last, float* partial) {
      for (std::int64_t row = first; row < last; ++row) {
        T* dy = data<T>(dy_inout) + row * width + begin;
        kernel_table<T>().rms_norm_backward(data<T>(x) + row * width + begin, size, data<T>(weight),
                                            data<float>(rstd) + row * heads, dy, size, nullptr, heads, size, dy, size,
                                            partial);
      }
    });
  });
}

void rope_(at::Tensor x, const model::Rope& rope, std::int64_t heads, std::int64_t size, float direction) {
  if (x.is_cuda()) return gpu::rope_(x, rope, heads, size, direction);
  check_rows(x);
  check_rows(rope.cos);
  check_rows(rope.sin);
  const std::int64_t width = x.size(1);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, x.size(0), kGrain, [&](std::int64_t begin, std::int64_t end) {
      kernel_table<T>().rope(data<T>(x) + begin * width, width, data<float>(rope.cos) + begin * size,
                             data<float>(rope.sin) + begin * size, direction, end - begin, heads, size);
    });
  });
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  if (gate_up.is_cuda()) return gpu::swiglu(gate_up);
  check_rows(gate_up);
  const std::int64_t inner = gate_up.size(1) / 2;
  const at::Tensor out = at::empty({gate_up.size(0), inner}, gate_up.options());
  dispatch(gate_up, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, out.size(0), kGrain, [&](std::int64_t begin, std::int64_t end) {
      kernel_table<T>().swiglu(data<T>(gate_up) + begin * 2 * inner, end - begin, inner, data<T>(out) + begin * inner);
    });
  });
  return out;
}

at::Tensor swiglu_backward_(at::Tensor gate_up, const at::Tensor& d_out) {
  if (gate_up.is_cuda()) return gpu::swiglu_backward_(gate_up, d_out);
  check_rows(gate_up);
  check_rows(d_out);
  const at::Tensor out = at::empty_like(d_out);
  const std::int64_t inner = d_out.size(1);
  dispatch(gate_up, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, out.size(0), kGrain, [&](std::int64_t begin, std::int64_t end) {
      T* both = data<T>(gate_up) + begin * 2 * inner;
      kernel_table<T>().swiglu_backward(both, data<T>(d_out) + begin * inner, end - begin, inner,
                                        data<T>(out) + begin * inner, both);
    });
  });
  return out;
}

void softmax_stats(const at::Tensor& logits, const std::int32_t* targets, double temperature, RowStats* stats) {
  if (logits.is_cuda()) return gpu::softmax_stats(logits, targets, temperature, stats);
  check_rows(logits);
  const std::int64_t vocabulary = logits.size(1);
  const float inverse = static_cast<float>(1 / temperature);
  dispatch(logits, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, logits.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        stats[row] =
            kernel_table<T>().softmax_stats(data<T>(logits) + row * vocabulary, vocabulary, targets[row], inverse);
      }
    });
  });
}

void softmax_gradient_(at::Tensor logits, const std::int32_t* targets, double temperature, const RowStats* stats,
                       const float* gradients) {
  if (logits.is_cuda()) return gpu::softmax_gradient_(logits, targets, temperature, stats, gradients);
  check_rows(logits);
  const std::int64_t vocabulary = logits.size(1);
  const float inverse = static_cast<float>(1 / temperature);
  dispatch(logits, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, logits.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        kernel_table<T>().softmax_gradient(data<T>(logits) + row * vocabulary, vocabulary, targets[row], inverse,
                                           stats[row].lse, gradients[row]);
      }
    });
  });
}

void add_to_float(const at::Tensor& x, at::Tensor sum) {
  if (x.is_cuda()) return gpu::add_to_float(x, sum);
  SETRL_CHECK(x.is_contiguous() && sum.is_contiguous() && x.numel() == sum.numel(), "shapes differ");
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, x.numel(), kSpan, [&](std::int64_t begin, std::int64_t end) {
      kernel_table<T>().add_to_float(data<T>(x) + begin, end - begin, data<float>(sum) + begin);
    });
  });
}

void column_sum(const at::Tensor& x, at::Tensor sum) {
  if (x.is_cuda()) return gpu::column_sum(x, sum);
  check_rows(x);
  const std::int64_t width = x.size(1);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    sum_over_blocks(x.size(0), width, sum, [&](std::int64_t begin, std::int64_t end, float* partial) {
      for (std::int64_t row = begin; row < end; ++row) {
        kernel_table<T>().add_to_float(data<T>(x) + row * width, width, partial);
      }
    });
  });
}

void from_float(const at::Tensor& x, at::Tensor out) {
  if (x.is_cuda()) return gpu::from_float(x, out);
  SETRL_CHECK(x.is_contiguous() && out.is_contiguous() && x.numel() == out.numel(), "shapes differ");
  dispatch(out, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, x.numel(), kSpan, [&](std::int64_t begin, std::int64_t end) {
      kernel_table<T>().from_float(data<float>(x) + begin, end - begin, data<T>(out) + begin);
    });
  });
}

void add_matmul(const at::Tensor& a, const at::Tensor& b, at::Tensor sum) {
  if (!sum.defined()) return;
  if (a.scalar_type() == at::kFloat) {
    sum.addmm_(a, b);
  } else {
    add_to_float(at::mm(a, b), sum);
  }
}

void add_rows(const at::Tensor& x, const at::Tensor& ids, at::Tensor sum) {
  if (x.is_cuda()) return gpu::add_rows(x, ids, sum);
  check_rows(x);
  const std::int64_t width = x.size(1), rows = x.size(0);
  const std::int64_t* id = data<std::int64_t>(ids);
  dispatch(x, [&](auto type) {
    using T = decltype(type);
    // Threads share the columns, not the rows, so that rows with equal ids are added in order.
    at::parallel_for(0, width, 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = 0; row < rows; ++row) {
        kernel_table<T>().add_to_float(data<T>(x) + row * width + begin, end - begin,
                                       data<float>(sum) + id[row] * width + begin);
      }
    });
  });
}

void adamw(at::Tensor weights, at::Tensor moment1, at::Tensor moment2, const at::Tensor& gradient,
           const AdamwStep& step) {
  if (weights.is_cuda()) return gpu::adamw(weights, moment1, moment2, gradient, step);
  at::parallel_for(0, weights.numel(), 16384, [&](std::int64_t begin, std::int64_t end) {
    kernels().flat.adamw(data<float>(weights) + begin, data<float>(moment1) + begin, data<float>(moment2) + begin,
                         data<float>(gradient) + begin, end - begin, step);
  });
}

double sum_of_squares(const at::Tensor& x) {
  if (x.is_cuda()) return gpu::sum_of_squares(x);
  const std::int64_t spans = (x.numel() + kSpan - 1) / kSpan;
  std::vector<double> partial(static_cast<std::size_t>(spans));
  at::parallel_for(0, spans, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t span = first; span < last; ++span) {
      const std::int64_t begin = span * kSpan;
      partial[static_cast<std::size_t>(span)] =
          kernels().flat.sum_of_squares(data<float>(x) + begin, std::min(kSpan, x.numel() - begin));
    }
  });
  double sum = 0;
  for (const double value : partial) sum += value;
  return sum;
}

}  // namespace setrl::learn
