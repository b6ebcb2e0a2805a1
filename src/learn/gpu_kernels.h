// The learner's row-wise arithmetic on NVIDIA GPUs: what kernels.h does on CPUs, in the same order of operations where
// it matters, on plain pointers to memory of the device. T is float or Bfloat16; statistics are in float32. Work is put
// on a stream and not waited for. Sums follow an order that the shapes alone decide (no atomics), so that runs repeat
// bit for bit. 16 bytes are read at a time where pointers and widths allow it; any alignment works.
#pragma once

#include <cstdint>

#include "learn/kernels.h"

namespace setrl::learn::gpu {

using Stream = void*;  // a cudaStream_t

// Rows that hold `heads` neighbouring vectors of `width` numbers; rows are `stride` apart.
struct Vectors {
  std::int64_t rows = 0, heads = 1, width = 0, stride = 0;
  std::int64_t count() const { return rows * heads; }
};

// Rows of partial sums that a reduction over so many rows leaves for add_parts().
std::int64_t reduction_parts(std::int64_t rows);
// sum [width] += the parts [parts, width], in their order.
void add_parts(const float* parts, std::int64_t count, std::int64_t width, float* sum, Stream stream);

// rstd [count]. out, laid out as x, may be x.
template <typename T>
void rms_norm(const Vectors& shape, const T* x, const T* weight, float epsilon, T* out, float* rstd, Stream stream);
// x, dy, residual (or null) and dx are laid out alike; dx may be dy. `parts` [reduction_parts(count), width] gets the
// weight's gradient; null: none.
template <typename T>
void rms_norm_backward(const Vectors& shape, const T* x, const T* weight, const float* rstd, const T* dy,
                       const T* residual, T* dx, float* parts, Stream stream);

// The first `heads` vectors of each row, in place; cos, sin [rows, width].
template <typename T>
void rope(const Vectors& shape, T* x, const float* cos, const float* sin, float direction, Stream stream);

// gate_up [rows, 2 * inner].
template <typename T>
void swiglu(const T* gate_up, std::int64_t rows, std::int64_t inner, T* out, Stream stream);
template <typename T>
void swiglu_backward(T* gate_up, const T* d_out, std::int64_t rows, std::int64_t inner, T* out, Stream stream);

template <typename T>
void add_to_float(const T* x, std::int64_t count, float* sum, Stream stream);
template <typename T>
void from_float(const float* x, std::int64_t count, T* out, Stream stream);

// x [rows, width] -> parts [reduction_parts(rows), width].
template <typename T>
void column_sum(const T* x, std::int64_t rows, std::int64_t width, float* parts, Stream stream);
// sum [.., width]: row ids[i] += row order[i] of x, for i in order; ids ascend.
template <typename T>
void add_rows(const T* x, std::int64_t rows, std::int64_t width, const std::int64_t* ids, const std::int64_t* order,
              float* sum, Stream stream);

// One pass over each row of logits [rows, vocabulary].
template <typename T>
void softmax_stats(const T* logits, std::int64_t rows, std::int64_t vocabulary, const std::int32_t* targets,
                   float inverse_temperature, RowStats* stats, Stream stream);
// In place; gradients [rows].
template <typename T>
void softmax_gradient(T* logits, std::int64_t rows, std::int64_t vocabulary, const std::int32_t* targets,
                      float inverse_temperature, const RowStats* stats, const float* gradients, Stream stream);

void adamw(float* weight, float* moment1, float* moment2, const float* gradient, std::int64_t count,
           const AdamwStep& step, Stream stream);
// parts [square_parts(count)]; their sum in order is the sum of squares.
std::int64_t square_parts(std::int64_t count);
void sum_of_squares(const float* x, std::int64_t count, double* parts, Stream stream);

}  // namespace setrl::learn::gpu
