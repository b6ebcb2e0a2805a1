// Attention over sequences of packed rows: what grouped_attention.h is made of. The GPU's is gpu_ops.h's; tests have
// one of plain tensor functions.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace setrl::learn {

// Sequence s has query rows [q_begins[s], q_begins[s + 1]) and key rows [k_begins[s], k_begins[s + 1]).
struct Sequences {
  at::Tensor q_begins, k_begins;  // [sequences + 1] int32, on the device of what they describe
  std::int64_t longest_q = 0, longest_k = 0;
  bool causal = false;  // query i of a sequence sees its keys 0 to i; both have the same length
};

class VarlenAttention {
 public:
  struct Result {
    at::Tensor out;  // [Q, H, D]
    at::Tensor lse;  // [H, Q] float32
  };
  struct Gradients {
    at::Tensor dq, dk, dv;  // [Q, H, D], [K, N, D], [K, N, D]
  };
  virtual ~VarlenAttention() = default;
  // q [Q, H, D], k and v [K, N, D]: rows may be strided, all else is dense. Every sequence has a query and a key.
  virtual Result forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const Sequences& sequences) const = 0;
  // `result` may be that of a softmax over these and other keys: the gradients are then the share of these.
  virtual Gradients backward(const at::Tensor& d_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const Result& result, const Sequences& sequences) const = 0;
  // The attention of queries `rows` [P] int32 of `into` over other keys, `part`, joins what is there.
  virtual void merge(const at::Tensor& rows, const Result& part, const Result& into) const = 0;
};

}  // namespace setrl::learn
