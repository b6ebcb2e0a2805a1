// Attention over packed groups as GPUs do it (two attentions over sequences, merged), with plain tensor functions and
// with the GPU's own kernels on a stand-in, against the CPU's attention.
#include <cmath>

#include "learn/attention.h"
#include "learn/gpu_ops.h"
#include "learn/gpu_test_tools.h"
#include "learn/grouped_attention.h"

namespace setrl::learn {
namespace {

using testing::OnStandin;

// Every sequence by itself, in float64.
class PlainAttention : public VarlenAttention {
 public:
  Result forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const Sequences& sequences) const override {
    Result result{at::empty(q.sizes(), q.options()), at::empty({q.size(1), q.size(0)}, at::kFloat)};
    for_each(q, k, v, sequences, [&](const Part& part) {
      const at::Tensor lse = part.scores.logsumexp(-1);
      const at::Tensor out = at::matmul((part.scores - lse.unsqueeze(-1)).exp(), part.v);
      rows(result.out, part).copy_(out.transpose(0, 1));
      result.lse.narrow(1, part.q_begin, part.queries).copy_(lse);
    });
    return result;
  }

  Gradients backward(const at::Tensor& d_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const Result& result, const Sequences& sequences) const override {
    Gradients gradients{at::empty_like(q), at::empty_like(k), at::empty_like(v)};
    for_each(q, k, v, sequences, [&](const Part& part) {
      const at::Tensor lse = result.lse.narrow(1, part.q_begin, part.queries).to(at::kDouble);
      const at::Tensor p = (part.scores - lse.unsqueeze(-1)).exp();
      const at::Tensor d = rows(d_out, part).transpose(0, 1).to(at::kDouble);
      const at::Tensor out = rows(result.out, part).transpose(0, 1).to(at::kDouble);
      const at::Tensor ds = p * (at::matmul(d, part.v.transpose(1, 2)) - (d * out).sum(-1, true)) * part.scale;
      rows(gradients.dq, part).copy_(at::matmul(ds, part.k).transpose(0, 1));
      const auto of_keys = [&](const at::Tensor& all) {  // [H, K, D] -> [K, N, D]
        const std::int64_t heads = k.size(1);
        return all.view({heads, all.size(0) / heads, all.size(1), all.size(2)}).sum(1).transpose(0, 1);
      };
      gradients.dk.narrow(0, part.k_begin, part.keys).copy_(of_keys(at::matmul(ds.transpose(1, 2), part.q)));
      gradients.dv.narrow(0, part.k_begin, part.keys).copy_(of_keys(at::matmul(p.transpose(1, 2), d)));
    });
    return gradients;
  }

  void merge(const at::Tensor& rows, const Result& part, const Result& into) const override {
    const at::Tensor index = rows.to(at::kLong);
    const at::Tensor a = into.lse.index_select(1, index).to(at::kDouble), b = part.lse.to(at::kDouble);
    const at::Tensor both = at::logaddexp(a, b);
    const auto weight = [&](const at::Tensor& of) { return (of - both).exp().t().unsqueeze(-1); };
    const at::Tensor out = weight(a) * into.out.index_select(0, index) + weight(b) * part.out;
    into.out.index_copy_(0, index, out.to(into.out.scalar_type()));
    into.lse.index_copy_(1, index, both.to(at::kFloat));
  }

 private:
  struct Part {
    std::int64_t q_begin, queries, k_begin, keys;
    double scale;
    at::Tensor q, k, v, scores;  // float64: [H, Q, D], [H, K, D], [H, K, D], [H, Q, K]
  };
  static at::Tensor rows(const at::Tensor& x, const Part& part) { return x.narrow(0, part.q_begin, part.queries); }
  template <typename Body>
  static void for_each(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Sequences& sequences,
                       const Body& body) {
    const auto* q_begins = sequences.q_begins.data_ptr<std::int32_t>();
    const auto* k_begins = sequences.k_begins.data_ptr<std::int32_t>();
    for (std::int64_t s = 0; s + 1 < sequences.q_begins.size(0); ++s) {
      Part part{q_begins[s], q_begins[s + 1] - q_begins[s], k_begins[s], k_begins[s + 1] - k_begins[s], 0, {}, {}, {},
                {}};
      EXPECT_LE(part.queries, sequences.longest_q);
      EXPECT_LE(part.keys, sequences.longest_k);
      EXPECT_GT(part.queries, 0);
      EXPECT_GT(part.keys, 0);
      part.scale = 1 / std::sqrt(static_cast<double>(q.size(2)));
      part.q = rows(q, part).transpose(0, 1).to(at::kDouble);
      const auto keys = [&](const at::Tensor& x) {
        return x.narrow(0, part.k_begin, part.keys)
            .transpose(0, 1)
            .to(at::kDouble)
            .repeat_interleave(q.size(1) / k.size(1), 0);
      };
      part.k = keys(k);
      part.v = keys(v);
      part.scores = at::matmul(part.q, part.k.transpose(1, 2)) * part.scale;
      if (sequences.causal) {
        const at::Tensor hidden = at::ones({part.queries, part.keys}, at::kBool).triu(1);
        part.scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
      }
      body(part);
    }
  }
};

std::vector<PackedGroup> packed(const std::vector<std::pair<std::int64_t, std::vector<std::int64_t>>>& shapes) {
  std::vector<PackedGroup> groups;
  std::int64_t row = 0;
  for (const auto& [prompt, completions] : shapes) {
    groups.push_back({row, prompt, row + prompt, completions});
    row = groups.back().completions_begin + groups.back().completions_rows();
  }
  return groups;
}

std::int64_t rows_of(const std::vector<PackedGroup>& groups) {
  return groups.back().completions_begin + groups.back().completions_rows();
}

class GroupedAttention : public OnStandin {
 protected:
  void compare(const VarlenAttention& attention) const {
    const AttentionShape shapes[] = {{4, 2, 16}, {3, 1, 40}, {2, 2, 72}};
    const std::vector<PackedGroup> batches[] = {packed({{5, {3, 0, 7}}, {40, {}}, {33, {0}}, {1, {1, 35}}}),
                                                packed({{70, {33, 2}}}), packed({{3, {}}}),
                                                packed({{1, {0}}, {2, {0, 0}}})};
    for (const auto& shape : shapes) {
      for (const auto& groups : batches) {
        SCOPED_TRACE(fmt::format("{} heads of {}, {} rows", shape.heads, shape.size, rows_of(groups)));
        const at::Tensor qkv = normals({rows_of(groups), (shape.heads + 2 * shape.kv_heads) * shape.size});
        const at::Tensor d_out = normals({rows_of(groups), shape.heads, shape.size});
        const AttentionResult wanted = attention_forward(shape, groups, qkv);
        const AttentionResult result = grouped_attention_forward(attention, shape, groups, qkv);
        near(result.out, wanted.out, "out");
        near(result.lse, wanted.lse.t(), "lse");
        near(grouped_attention_backward(attention, shape, groups, qkv, result, d_out),
             attention_backward(shape, groups, qkv, wanted, d_out), "gradient");
      }
    }
  }

  // Of the largest number: parts of a gradient may cancel, and bfloat16 is rounded on the way.
  void near(const at::Tensor& value, const at::Tensor& wanted, const char* what) const {
    ASSERT_EQ(value.sizes(), wanted.sizes());
    const at::Tensor a = value.to(at::kDouble), b = wanted.to(at::kDouble);
    const double difference = (a - b).abs().max().item<double>() / b.abs().max().item<double>();
    EXPECT_LT(difference, dtype() == at::kBFloat16 ? 2e-2 : 2e-6) << what;
  }
};
INSTANTIATE_TEST_SUITE_P(Standin, GroupedAttention, testing::all_standins(), testing::name_of);

TEST_P(GroupedAttention, OfPlainTensorFunctionsIsTheCpus) {
  compare(PlainAttention());
}

TEST_P(GroupedAttention, OfTheGpusKernelsIsTheCpus) {
  compare(gpu::varlen_attention());
}

TEST_P(GroupedAttention, WithoutKeysThereIsNothingToMerge) {
  // The primitive by itself: one query, no key it may see, then joined by others.
  const at::Tensor q = normals({1, 2, 16}), k = normals({3, 2, 16});
  const at::Tensor one = at::tensor({0, 1}, at::kInt), none = at::tensor({0, 0}, at::kInt);
  const auto nothing = gpu::varlen_attention().forward(q, k, k, {one, none, 1, 1, false});
  EXPECT_EQ(nothing.out.abs().max().item<float>(), 0);
  EXPECT_TRUE(std::isinf(nothing.lse[0][0].item<float>()));
  const auto all = gpu::varlen_attention().forward(q, k, k, {one, at::tensor({0, 3}, at::kInt), 1, 3, false});
  const VarlenAttention::Result both{all.out.clone(), all.lse.clone()};
  gpu::varlen_attention().merge(at::tensor({0}, at::kInt), nothing, both);
  EXPECT_TRUE(at::equal(both.out, all.out));
  EXPECT_TRUE(at::equal(both.lse, all.lse));
}

}  // namespace
}  // namespace setrl::learn
