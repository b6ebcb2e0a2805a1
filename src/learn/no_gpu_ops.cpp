// The build without GPUs: nothing here is ever reached, as no tensor lies on one.
#include "base/error.h"
#include "learn/gpu_ops.h"

namespace setrl::learn::gpu {

namespace {

[[noreturn]] void refuse() {
  throw BugError("the learner was built without CUDA");
}

}  // namespace

Normed rms_norm(const at::Tensor& /*x*/, const at::Tensor& /*weight*/, double /*epsilon*/) {
  refuse();
}
at::Tensor rms_norm_backward(const at::Tensor& /*x*/, const at::Tensor& /*weight*/, const at::Tensor& /*rstd*/,
                             const at::Tensor& /*dy*/, const at::Tensor& /*residual*/, at::Tensor /*weight_gradient*/) {
  refuse();
}
at::Tensor head_norm_(at::Tensor /*x*/, std::int64_t /*begin*/, std::int64_t /*heads*/, const at::Tensor& /*weight*/,
                      double /*epsilon*/) {
  refuse();
}
void head_norm_backward_(const at::Tensor& /*x*/, std::int64_t /*begin*/, std::int64_t /*heads*/,
                         const at::Tensor& /*weight*/, const at::Tensor& /*rstd*/, at::Tensor /*dy_inout*/,
                         at::Tensor /*weight_gradient*/) {
  refuse();
}
void rope_(at::Tensor /*x*/, const model::Rope& /*rope*/, std::int64_t /*heads*/, std::int64_t /*size*/,
           float /*direction*/) {
  refuse();
}
at::Tensor swiglu(const at::Tensor& /*gate_up*/) {
  refuse();
}
at::Tensor swiglu_backward_(at::Tensor /*gate_up*/, const at::Tensor& /*d_out*/) {
  refuse();
}
void softmax_stats(const at::Tensor& /*logits*/, const std::int32_t* /*targets*/, double /*temperature*/,
                   RowStats* /*stats*/) {
  refuse();
}
void softmax_gradient_(at::Tensor /*logits*/, const std::int32_t* /*targets*/, double /*temperature*/,
                       const RowStats* /*stats*/, const float* /*gradients*/) {
  refuse();
}
void add_to_float(const at::Tensor& /*x*/, at::Tensor /*sum*/) {
  refuse();
}
void column_sum(const at::Tensor& /*x*/, at::Tensor /*sum*/) {
  refuse();
}
void from_float(const at::Tensor& /*x*/, at::Tensor /*out*/) {
  refuse();
}
void add_rows(const at::Tensor& /*x*/, const at::Tensor& /*ids*/, at::Tensor /*sum*/) {
  refuse();
}
void adamw(at::Tensor /*weights*/, at::Tensor /*moment1*/, at::Tensor /*moment2*/, const at::Tensor& /*gradient*/,
           const AdamwStep& /*step*/) {
  refuse();
}
double sum_of_squares(const at::Tensor& /*x*/) {
  refuse();
}
const VarlenAttention& varlen_attention() {
  refuse();
}

}  // namespace setrl::learn::gpu
