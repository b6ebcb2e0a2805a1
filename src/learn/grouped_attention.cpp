#include "learn/grouped_attention.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace setrl::learn {

namespace {

// The two calls' sequences. Groups without rows of completions take no part in the second.
struct GroupRows {
  Sequences own;
  Sequences to_prompt;
  at::Tensor completions, prompts;  // packed rows of the second's queries and keys, int32
  bool any_completions() const { return completions.size(0) > 0; }
};

GroupRows rows_of(const std::vector<PackedGroup>& groups, std::int64_t rows, at::Device device) {
  std::vector<std::int32_t> own = {0}, queries = {0}, keys = {0}, completions, prompts;
  std::int64_t longest_own = 0, longest_query = 0, longest_key = 0;
  const auto end_own = [&](std::int64_t length) {
    own.push_back(own.back() + static_cast<std::int32_t>(length));
    longest_own = std::max(longest_own, length);
  };
  const auto append = [](std::vector<std::int32_t>& to, std::int64_t begin, std::int64_t count) {
    to.resize(to.size() + static_cast<std::size_t>(count));
    std::iota(to.end() - count, to.end(), static_cast<std::int32_t>(begin));
  };
  for (const auto& group : groups) {
    SETRL_CHECK(group.prompt_begin == own.back() && group.completions_begin == own.back() + group.prompt_rows,
                "packed groups follow each other without gaps");
    end_own(group.prompt_rows);
    for (const std::int64_t count : group.completion_rows) {
      if (count > 0) end_own(count);
    }
    const std::int64_t count = group.completions_rows();
    if (count == 0) continue;
    append(completions, group.completions_begin, count);
    append(prompts, group.prompt_begin, group.prompt_rows);
    queries.push_back(static_cast<std::int32_t>(completions.size()));
    keys.push_back(static_cast<std::int32_t>(prompts.size()));
    longest_query = std::max(longest_query, count);
    longest_key = std::max(longest_key, group.prompt_rows);
  }
  SETRL_CHECK(own.back() == rows, "packed groups have {} rows of {}", own.back(), rows);
  // One copy to the device.
  std::vector<std::int32_t> all;
  for (const auto* part : {&own, &queries, &keys, &completions, &prompts}) {
    all.insert(all.end(), part->begin(), part->end());
  }
  const at::Tensor there = at::tensor(all, at::kInt).to(device);
  std::int64_t at = 0;
  const auto take = [&](const std::vector<std::int32_t>& part) {
    const auto count = static_cast<std::int64_t>(part.size());
    at += count;
    return there.narrow(0, at - count, count);
  };
  GroupRows result;
  result.own.q_begins = result.own.k_begins = take(own);
  result.own.longest_q = result.own.longest_k = longest_own;
  result.own.causal = true;
  result.to_prompt.q_begins = take(queries);
  result.to_prompt.k_begins = take(keys);
  result.to_prompt.longest_q = longest_query;
  result.to_prompt.longest_k = longest_key;
  result.completions = take(completions);
  result.prompts = take(prompts);
  return result;
}

// Heads of q, k, v in rows of them together [T, W].
struct Heads {
  Heads(const AttentionShape& shape, const at::Tensor& qkv)
      : q(part(shape, qkv, 0, shape.heads)),
        k(part(shape, qkv, shape.heads, shape.kv_heads)),
        v(part(shape, qkv, shape.heads + shape.kv_heads, shape.kv_heads)) {}
  static at::Tensor part(const AttentionShape& shape, const at::Tensor& qkv, std::int64_t first, std::int64_t heads) {
    return qkv.narrow(1, first * shape.size, heads * shape.size).unflatten(1, {heads, shape.size});
  }
  at::Tensor q, k, v;
};

// part's rows are added to `rows` of `sum`; the rows differ from each other.
void add_at(at::Tensor sum, const at::Tensor& rows, const at::Tensor& part) {
  sum.index_copy_(0, rows.to(at::kLong), sum.index_select(0, rows).add_(part));
}

}  // namespace

AttentionResult grouped_attention_forward(const VarlenAttention& attention, const AttentionShape& shape,
                                          const std::vector<PackedGroup>& groups, const at::Tensor& qkv) {
  const Heads heads(shape, qkv);
  const GroupRows rows = rows_of(groups, qkv.size(0), qkv.device());
  const auto result = attention.forward(heads.q, heads.k, heads.v, rows.own);
  if (rows.any_completions()) {
    const auto part =
        attention.forward(heads.q.index_select(0, rows.completions), heads.k.index_select(0, rows.prompts),
                          heads.v.index_select(0, rows.prompts), rows.to_prompt);
    attention.merge(rows.completions, part, result);
  }
  return {result.out, result.lse};
}

at::Tensor grouped_attention_backward(const VarlenAttention& attention, const AttentionShape& shape,
                                      const std::vector<PackedGroup>& groups, const at::Tensor& qkv,
                                      const AttentionResult& result, const at::Tensor& d_out) {
  const Heads heads(shape, qkv);
  const GroupRows rows = rows_of(groups, qkv.size(0), qkv.device());
  const at::Tensor d_qkv = at::empty_like(qkv);
  const Heads gradients(shape, d_qkv);
  {
    const auto own = attention.backward(d_out, heads.q, heads.k, heads.v, {result.out, result.lse}, rows.own);
    gradients.q.copy_(own.dq);
    gradients.k.copy_(own.dk);
    gradients.v.copy_(own.dv);
  }
  if (rows.any_completions()) {
    const auto of_completions = [&](const at::Tensor& x, std::int64_t dim) {
      return x.index_select(dim, rows.completions);
    };
    const auto part =
        attention.backward(of_completions(d_out, 0), of_completions(heads.q, 0), heads.k.index_select(0, rows.prompts),
                           heads.v.index_select(0, rows.prompts),
                           {of_completions(result.out, 0), of_completions(result.lse, 1)}, rows.to_prompt);
    add_at(gradients.q, rows.completions, part.dq);
    add_at(gradients.k, rows.prompts, part.dk);
    add_at(gradients.v, rows.prompts, part.dv);
  }
  return d_qkv;
}

}  // namespace setrl::learn
