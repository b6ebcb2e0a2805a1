// tensor_ops.h for tensors in the memory of a GPU, on its current stream: same functions, same shapes. In builds
// without GPUs each throws BugError.
#pragma once

#include <ATen/ATen.h>

#include "learn/tensor_ops.h"
#include "learn/varlen_attention.h"

namespace setrl::learn::gpu {

Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
at::Tensor rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                             const at::Tensor& dy, const at::Tensor& residual, at::Tensor weight_gradient);
at::Tensor head_norm_(at::Tensor x, std::int64_t begin, std::int64_t heads, const at::Tensor& weight, double epsilon);
void head_norm_backward_(const at::Tensor& x, std::int64_t begin, std::int64_t heads, const at::Tensor& weight,
                         const at::Tensor& rstd, at::Tensor dy_inout, at::Tensor weight_gradient);
void rope_(at::Tensor x, const model::Rope& rope, std::int64_t heads, std::int64_t size, float direction);
at::Tensor swiglu(const at::Tensor& gate_up);
at::Tensor swiglu_backward_(at::Tensor gate_up, const at::Tensor& d_out);
// These two wait for the GPU: what they are given and give is in host memory.
void softmax_stats(const at::Tensor& logits, const std::int32_t* targets, double temperature, RowStats* stats);
void softmax_gradient_(at::Tensor logits, const std::int32_t* targets, double temperature, const RowStats* stats,
                       const float* gradients);
void add_to_float(const at::Tensor& x, at::Tensor sum);
void column_sum(const at::Tensor& x, at::Tensor sum);
void from_float(const at::Tensor& x, at::Tensor out);
void add_rows(const at::Tensor& x, const at::Tensor& ids, at::Tensor sum);
void adamw(at::Tensor weights, at::Tensor moment1, at::Tensor moment2, const at::Tensor& gradient,
           const AdamwStep& step);
double sum_of_squares(const at::Tensor& x);  // waits for the GPU

// Flash attention of LibTorch for bfloat16 and head sizes that it takes, made to repeat bit for bit; own kernels
// (gpu_attention.h) for all else.
const VarlenAttention& varlen_attention();

}  // namespace setrl::learn::gpu
