#include "learn/network.h"

#include "learn/block.h"
#include "learn/tensor_ops.h"
#include "model/decoder.h"

namespace setrl::learn {

namespace {

constexpr const char* kEmbedding = "embed_tokens.weight";
constexpr const char* kFinalNorm = "model.norm.weight";
constexpr const char* kHead = "lm_head.weight";

}  // namespace

at::Tensor Network::head_weight(const at::Tensor& first_unit, const at::Tensor& last_unit) const {
  if (spec_.tied_embeddings) return parameters_.layout(0).view(first_unit, kEmbedding);
  return parameters_.layout(parameters_.units() - 1).view(last_unit, kHead);
}

std::vector<RowStats> Network::evaluate(const MicroBatch& batch, double temperature,
                                        ShardedParameters::Version version) {
  const bool work = batch.rows() > 0;
  const int last = parameters_.units() - 1;
  const at::Tensor first_unit = parameters_.gather(0, version);
  model::Rope rope;
  at::Tensor x;
  if (work) {
    rope = model::make_rope(spec_, batch.positions);
    x = parameters_.layout(0).view(first_unit, kEmbedding).index_select(0, batch.ids);
  }
  const BlockContext context{spec_, batch.groups, rope};
  for (int unit = 1; unit < last; ++unit) {
    const at::Tensor flat = parameters_.gather(unit, version);
    if (work) x = block_forward(context, block_tensors(parameters_.layout(unit), flat), x, nullptr);
  }
  const at::Tensor last_unit = parameters_.gather(last, version);
  if (!work) return {};
  const Normed normed = rms_norm(x, parameters_.layout(last).view(last_unit, kFinalNorm), spec_.norm_epsilon);
  return head_stats({batch, normed.out, head_weight(first_unit, last_unit), temperature});
}

void Network::train(const MicroBatch& batch, double temperature, const Loss& loss) {
  const bool work = batch.rows() > 0;
  const int last = parameters_.units() - 1;
  at::Tensor first_unit = parameters_.gather(0);
  model::Rope rope;
  at::Tensor x;
  if (work) {
    rope = model::make_rope(spec_, batch.positions);
    x = parameters_.layout(0).view(first_unit, kEmbedding).index_select(0, batch.ids);
  }
  if (!spec_.tied_embeddings) first_unit.reset();

  const BlockContext context{spec_, batch.groups, rope};
  std::vector<BlockActivations> saved(static_cast<std::size_t>(last));
  for (int unit = 1; unit < last; ++unit) {
    const at::Tensor flat = parameters_.gather(unit);
    if (!work) continue;
    auto& activations = saved[static_cast<std::size_t>(unit)];
    const at::Tensor input = x;
    x = block_forward(context, block_tensors(parameters_.layout(unit), flat), input,
                      checkpointing_ ? nullptr : &activations);
    activations.input = input;
  }

  const auto& last_layout = parameters_.layout(last);
  const at::Tensor last_unit = parameters_.gather(last);
  const at::Tensor first_gradient = parameters_.gradient_buffer(0), last_gradient = parameters_.gradient_buffer(last);
  at::Tensor d_x;
  if (work) {
    const at::Tensor norm_weight = last_layout.view(last_unit, kFinalNorm);
    const Normed normed = rms_norm(x, norm_weight, spec_.norm_epsilon);
    const HeadInput head{batch, normed.out, head_weight(first_unit, last_unit), temperature};
    LossGradient gradient = loss.gradient;
    std::vector<float> known;
    if (loss.whole) {
      const auto stats = head_stats(head);
      known.resize(stats.size());
      loss.gradient(0, static_cast<std::int64_t>(stats.size()), stats.data(), known.data());
      gradient = [&](std::int64_t begin, std::int64_t end, const RowStats*, float* out) {
        std::copy(known.begin() + begin, known.begin() + end, out);
      };
    }
    const at::Tensor d_normed = head_backward(head, gradient, head_weight(first_gradient, last_gradient));
    d_x = rms_norm_backward(x, norm_weight, normed.rstd, d_normed, {}, last_layout.view(last_gradient, kFinalNorm));
    x.reset();
  }
  parameters_.reduce(last, last_gradient);

  for (int unit = last - 1; unit >= 1; --unit) {
    const at::Tensor flat = parameters_.gather(unit);
    const at::Tensor flat_gradient = parameters_.gradient_buffer(unit);
    if (work) {
      const auto weights = block_tensors(parameters_.layout(unit), flat);
      auto& activations = saved[static_cast<std::size_t>(unit)];
      if (checkpointing_) block_forward(context, weights, at::Tensor(activations.input), &activations);
      d_x = block_backward(context, weights, std::exchange(activations, {}), d_x,
                           block_tensors(parameters_.layout(unit), flat_gradient));
    }
    parameters_.reduce(unit, flat_gradient);
  }
  if (work) add_rows(d_x, batch.ids, parameters_.layout(0).view(first_gradient, kEmbedding));
  parameters_.reduce(0, first_gradient);
}

}  // namespace setrl::learn
