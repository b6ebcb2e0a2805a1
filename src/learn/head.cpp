#include "learn/head.h"

#include <algorithm>

#include "learn/tensor_ops.h"

namespace setrl::learn {

namespace {

constexpr std::int64_t kLogits = std::int64_t{1} << 26;  // elements of a chunk of logits

struct Chunk {
  std::int64_t begin, end;
  at::Tensor rows;    // [c] of the packed rows
  at::Tensor hidden;  // [c, E]
  at::Tensor logits;  // [c, V]
};

template <typename Body>
void for_each_chunk(const HeadInput& input, const Body& body) {
  const auto count = static_cast<std::int64_t>(input.batch.targets.size());
  const std::int64_t size = std::clamp<std::int64_t>(kLogits / input.weight.size(0), 64, 4096);
  // One buffer for all chunks: it is too large for the allocator to hand out again without clearing it.
  const at::Tensor logits = at::empty({std::min(count, size), input.weight.size(0)}, input.weight.options());
  for (std::int64_t begin = 0; begin < count; begin += size) {
    Chunk chunk{begin, std::min(count, begin + size), {}, {}, {}};
    chunk.rows = input.batch.loss_rows.narrow(0, begin, chunk.end - begin);
    chunk.hidden = input.hidden.index_select(0, chunk.rows);
    chunk.logits = logits.narrow(0, 0, chunk.end - begin);
    at::mm_out(chunk.logits, chunk.hidden, input.weight.t());
    body(chunk);
  }
}

}  // namespace

std::vector<RowStats> head_stats(const HeadInput& input) {
  std::vector<RowStats> stats(input.batch.targets.size());
  for_each_chunk(input, [&](const Chunk& chunk) {
    softmax_stats(chunk.logits, input.batch.targets.data() + chunk.begin, input.temperature,
                  stats.data() + chunk.begin);
  });
  return stats;
}

at::Tensor head_backward(const HeadInput& input, const LossGradient& loss_gradient, at::Tensor weight_gradient) {
  // Several completions start from one prompt row: their gradients are added up in float32.
  const at::Tensor d_hidden = at::zeros(input.hidden.sizes(), input.hidden.options().dtype(at::kFloat));
  for_each_chunk(input, [&](const Chunk& chunk) {
    const auto count = static_cast<std::size_t>(chunk.end - chunk.begin);
    const std::int32_t* targets = input.batch.targets.data() + chunk.begin;
    std::vector<RowStats> stats(count);
    std::vector<float> gradient(count, 0.0f);
    softmax_stats(chunk.logits, targets, input.temperature, stats.data());
    loss_gradient(chunk.begin, chunk.end, stats.data(), gradient.data());
    softmax_gradient_(chunk.logits, targets, input.temperature, stats.data(), gradient.data());
    add_rows(at::mm(chunk.logits, input.weight), chunk.rows, d_hidden);
    add_matmul(chunk.logits.t(), chunk.hidden, weight_gradient);
  });
  const at::Tensor result = at::empty_like(input.hidden);
  from_float(d_hidden, result);
  return result;
}

}  // namespace setrl::learn
