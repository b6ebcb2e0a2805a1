#include "learn/attention.h"

#include <ATen/Parallel.h>

#include "base/error.h"
#include "learn/kernels.h"

namespace setrl::learn {

namespace {

// Rows [begin, begin + count * length) seen as `count` sequences of `length`.
struct Run {
  std::int64_t begin, count, length;
};

// Neighbouring completions of equal length are computed together.
std::vector<Run> completion_runs(const PackedGroup& group) {
  std::vector<Run> runs;
  std::int64_t row = group.completions_begin;
  for (const std::int64_t length : group.completion_rows) {
    if (length == 0) continue;
    if (!runs.empty() && runs.back().length == length)
      ++runs.back().count;
    else
      runs.push_back({row, 1, length});
    row += length;
  }
  return runs;
}

// [T, heads, D] -> [count, heads, length, D]
at::Tensor sequences(const at::Tensor& x, const Run& run) {
  return x.narrow(0, run.begin, run.count * run.length).unflatten(0, {run.count, run.length}).transpose(1, 2);
}
// [T, H] -> [count, H, length]
at::Tensor sequence_lse(const at::Tensor& lse, const Run& run) {
  return lse.narrow(0, run.begin, run.count * run.length).unflatten(0, {run.count, run.length}).transpose(1, 2);
}

struct Heads {
  at::Tensor q, k, v;  // [T, H, D], [T, N, D], [T, N, D]: views
};
Heads split(const AttentionShape& shape, const at::Tensor& qkv) {
  const std::int64_t rows = qkv.size(0), q = shape.heads * shape.size, kv = shape.kv_heads * shape.size;
  SETRL_CHECK(qkv.size(1) == q + 2 * kv, "width of q, k, v is {}", qkv.size(1));
  return {qkv.narrow(1, 0, q).view({rows, shape.heads, shape.size}),
          qkv.narrow(1, q, kv).view({rows, shape.kv_heads, shape.size}),
          qkv.narrow(1, q + kv, kv).view({rows, shape.kv_heads, shape.size})};
}

struct Partial {
  at::Tensor out, lse;
};
Partial flash(const Heads& x, const Run& queries, const Run& keys, bool causal) {
  auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(sequences(x.q, queries), sequences(x.k, keys),
                                                                    sequences(x.v, keys), 0.0, causal);
  return {out.transpose(1, 2), lse.transpose(1, 2)};  // [count, length, H, D], [count, length, H]
}

void flash_backward(const Heads& x, const AttentionResult& result, const at::Tensor& d_out, const Run& queries,
                    const Run& keys, bool causal, Heads& gradient) {
  const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      sequences(d_out, queries), sequences(x.q, queries), sequences(x.k, keys), sequences(x.v, keys),
      sequences(result.out, queries), sequence_lse(result.lse, queries), 0.0, causal);
  sequences(gradient.q, queries).add_(dq);
  sequences(gradient.k, keys).add_(dk);
  sequences(gradient.v, keys).add_(dv);
}

template <typename T>
void merge(const at::Tensor& out_a, const at::Tensor& lse_a, const at::Tensor& out_b, const at::Tensor& lse_b,
           at::Tensor out, at::Tensor lse) {
  const std::int64_t rows = lse.numel(), size = out.size(-1);
  at::parallel_for(0, rows, 256, [&](std::int64_t begin, std::int64_t end) {
    const auto at = [&](const at::Tensor& tensor) { return static_cast<T*>(tensor.data_ptr()) + begin * size; };
    kernel_table<T>().merge_attention(at(out_a), lse_a.data_ptr<float>() + begin, at(out_b),
                                      lse_b.data_ptr<float>() + begin, end - begin, size, at(out),
                                      lse.data_ptr<float>() + begin);
  });
}

}  // namespace

AttentionResult attention_forward(const AttentionShape& shape, const std::vector<PackedGroup>& groups,
                                  const at::Tensor& qkv) {
  const Heads x = split(shape, qkv);
  AttentionResult result{at::empty({qkv.size(0), shape.heads, shape.size}, qkv.options()),
                         at::empty({qkv.size(0), shape.heads}, at::kFloat)};
  for (const auto& group : groups) {
    const Run prompt{group.prompt_begin, 1, group.prompt_rows};
    const Partial own = flash(x, prompt, prompt, true);
    result.out.narrow(0, prompt.begin, prompt.length).copy_(own.out.squeeze(0));
    result.lse.narrow(0, prompt.begin, prompt.length).copy_(own.lse.squeeze(0));
    const std::int64_t rows = group.completions_rows();
    if (rows == 0) continue;
    const Partial shared = flash(x, {group.completions_begin, 1, rows}, prompt, false);
    for (const Run& run : completion_runs(group)) {
      const Partial self = flash(x, run, run, true);
      const std::int64_t length = run.count * run.length, offset = run.begin - group.completions_begin;
      const auto contiguous = [](const at::Tensor& tensor) { return tensor.contiguous(); };
      const at::Tensor shared_out = contiguous(shared.out.squeeze(0).narrow(0, offset, length));
      const at::Tensor shared_lse = contiguous(shared.lse.squeeze(0).narrow(0, offset, length));
      const at::Tensor self_out = contiguous(self.out), self_lse = contiguous(self.lse);
      at::Tensor out = result.out.narrow(0, run.begin, length), lse = result.lse.narrow(0, run.begin, length);
      if (qkv.scalar_type() == at::kFloat)
        merge<float>(shared_out, shared_lse, self_out, self_lse, out, lse);
      else
        merge<Bfloat16>(shared_out, shared_lse, self_out, self_lse, out, lse);
    }
  }
  return result;
}

at::Tensor attention_backward(const AttentionShape& shape, const std::vector<PackedGroup>& groups,
                              const at::Tensor& qkv, const AttentionResult& result, const at::Tensor& d_out) {
  const Heads x = split(shape, qkv);
  const at::Tensor d_qkv = at::zeros_like(qkv);
  Heads gradient = split(shape, d_qkv);
  for (const auto& group : groups) {
    const Run prompt{group.prompt_begin, 1, group.prompt_rows};
    flash_backward(x, result, d_out, prompt, prompt, true, gradient);
    const std::int64_t rows = group.completions_rows();
    if (rows == 0) continue;
    flash_backward(x, result, d_out, {group.completions_begin, 1, rows}, prompt, false, gradient);
    for (const Run& run : completion_runs(group)) flash_backward(x, result, d_out, run, run, true, gradient);
  }
  return d_qkv;
}

}  // namespace setrl::learn
