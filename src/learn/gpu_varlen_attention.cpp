// Compiled where gpu_ops.cpp is.
#include <cmath>

#include "base/error.h"
#include "learn/gpu_attention.h"
#include "learn/gpu_ops.h"
#include "learn/gpu_stream.h"

namespace setrl::learn::gpu {

namespace {

template <typename T>
T* data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

double scale_of(const at::Tensor& q) {
  return 1.0 / std::sqrt(static_cast<double>(q.size(2)));
}

// LibTorch's backward adds up dq in an order of its own unless all of LibTorch is asked for fixed orders; that would
// also fill all new memory, which is switched off.
class FixedOrder {
 public:
  FixedOrder()
      : fixed_(context().deterministicAlgorithms()),
        warn_(context().deterministicAlgorithmsWarnOnly()),
        fill_(context().deterministicFillUninitializedMemory()) {
    context().setDeterministicAlgorithms(true, false);
    context().setDeterministicFillUninitializedMemory(false);
  }
  ~FixedOrder() {
    context().setDeterministicAlgorithms(fixed_, warn_);
    context().setDeterministicFillUninitializedMemory(fill_);
  }
  FixedOrder(const FixedOrder&) = delete;
  FixedOrder& operator=(const FixedOrder&) = delete;

 private:
  static at::Context& context() { return at::globalContext(); }
  bool fixed_, warn_, fill_;
};

class GpuAttention : public VarlenAttention {
 public:
  Result forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const Sequences& sequences) const override {
    if (flash(q)) {
      auto [out, lse, state, unused, mask] =
          at::_flash_attention_forward(q, k, v, sequences.q_begins, sequences.k_begins, longest(sequences.longest_q),
                                       longest(sequences.longest_k), 0.0, sequences.causal, false, scale_of(q));
      SETRL_CHECK(lse.dim() == 2 && lse.size(0) == q.size(1) && lse.size(1) == q.size(0) && out.is_contiguous(),
                  "LibTorch's flash attention gives a log-sum-exp of another shape");
      return {out, lse};
    }
    Result result{at::empty(q.sizes(), q.options()), at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat))};
    dispatch(q, [&](auto type) {
      using T = decltype(type);
      attention_forward<T>(shape_of(q, k, v, sequences), data<T>(q), data<T>(k), data<T>(v), data<T>(result.out),
                           data<float>(result.lse), current_stream());
    });
    return result;
  }

  Gradients backward(const at::Tensor& d_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const Result& result, const Sequences& sequences) const override {
    SETRL_CHECK(d_out.is_contiguous() && result.out.is_contiguous() && result.lse.is_contiguous(),
                "gradients of attention are contiguous");
    if (flash(q)) {
      const FixedOrder fixed;
      // Of the random numbers of a dropout that there is not.
      const auto state = at::TensorOptions().dtype(at::kUInt64).device(q.device());
      auto [dq, dk, dv] =
          at::_flash_attention_backward(d_out, q, k, v, result.out, result.lse, sequences.q_begins, sequences.k_begins,
                                        longest(sequences.longest_q), longest(sequences.longest_k), 0.0,
                                        sequences.causal, at::empty({2}, state), at::empty({}, state), scale_of(q));
      return {dq, dk, dv};
    }
    Gradients gradients{at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()),
                        at::empty(v.sizes(), v.options())};
    const at::Tensor delta = at::empty_like(result.lse);
    dispatch(q, [&](auto type) {
      using T = decltype(type);
      attention_backward<T>(shape_of(q, k, v, sequences), data<T>(q), data<T>(k), data<T>(v), data<T>(result.out),
                            data<float>(result.lse), data<T>(d_out), data<float>(delta), data<T>(gradients.dq),
                            data<T>(gradients.dk), data<T>(gradients.dv), current_stream());
    });
    return gradients;
  }

  void merge(const at::Tensor& rows, const Result& part, const Result& into) const override {
    dispatch(part.out, [&](auto type) {
      using T = decltype(type);
      attention_merge<T>(data<std::int32_t>(rows), rows.size(0), into.out.size(0), into.out.size(1), into.out.size(2),
                         data<T>(part.out), data<float>(part.lse), data<T>(into.out), data<float>(into.lse),
                         current_stream());
    });
  }

 private:
  static bool flash(const at::Tensor& q) {
    return q.is_cuda() && q.scalar_type() == at::kBFloat16 && q.size(2) % 8 == 0 && q.size(2) <= 256;
  }
  // LibTorch lays out sequences of one query in another way; the number only bounds the work that is started.
  static std::int64_t longest(std::int64_t rows) { return std::max<std::int64_t>(rows, 2); }

  template <typename Body>
  static void dispatch(const at::Tensor& tensor, const Body& body) {
    if (tensor.scalar_type() == at::kFloat)
      body(float{});
    else
      body(Bfloat16{});
  }
  static VarlenShape shape_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const Sequences& sequences) {
    for (const auto* x : {&q, &k, &v}) {
      SETRL_CHECK(x->stride(2) == 1 && x->stride(1) == x->size(2), "heads of a row lie side by side");
    }
    VarlenShape shape;
    shape.sequences = sequences.q_begins.size(0) - 1;
    shape.longest_q = sequences.longest_q;
    shape.longest_k = sequences.longest_k;
    shape.heads = q.size(1);
    shape.kv_heads = k.size(1);
    shape.size = q.size(2);
    shape.q_rows = q.size(0);
    shape.q_stride = q.stride(0);
    shape.k_stride = k.stride(0);
    shape.v_stride = v.stride(0);
    shape.scale = static_cast<float>(scale_of(q));
    shape.causal = sequences.causal;
    shape.q_begins = data<std::int32_t>(sequences.q_begins);
    shape.k_begins = data<std::int32_t>(sequences.k_begins);
    return shape;
  }
};

}  // namespace

const VarlenAttention& varlen_attention() {
  static const GpuAttention attention;
  return attention;
}

}  // namespace setrl::learn::gpu
