// Attention over packed groups (attention.h) by two calls of an attention over sequences: every prompt and completion
// causal to itself, and the completions of a group, as one sequence of queries, against their prompt's keys. The two
// are merged by their log-sum-exp; backward, each is given the merged output and log-sum-exp, which makes its gradient
// the exact share of its keys. This is how GPUs do it; on CPUs attention.cpp has one running softmax over both.
#pragma once

#include "learn/attention.h"
#include "learn/varlen_attention.h"

namespace setrl::learn {

// As attention_forward, but lse is [H, T].
AttentionResult grouped_attention_forward(const VarlenAttention& attention, const AttentionShape& shape,
                                          const std::vector<PackedGroup>& groups, const at::Tensor& qkv);
at::Tensor grouped_attention_backward(const VarlenAttention& attention, const AttentionShape& shape,
                                      const std::vector<PackedGroup>& groups, const at::Tensor& qkv,
                                      const AttentionResult& result, const at::Tensor& d_out);

}  // namespace setrl::learn
