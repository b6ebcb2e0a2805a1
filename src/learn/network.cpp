#include "learn/network.h"

#include "learn/tensor_ops.h"
#include "model/decoder.h"

namespace setrl::learn {

namespace {

constexpr const char* kEmbedding = "embed_tokens.weight";
constexpr const char* kFinalNorm = "model.norm.weight";
constexpr const char* kHead = "lm_head.weight";

at::Tensor view(const UnitLayout& layout, const at::Tensor& flat, const char* name) {
  return flat.defined() ? layout.view(flat, name) : at::Tensor();
}

}  // namespace

void Network::start_gather(int unit, Version version) {
  parameters_.start_gather(unit, version);
  if (low_rank_.adapters != nullptr && version == Version::current) low_rank_.adapters->start_gather(unit);
}

Network::Unit Network::gather(int unit, Version version) {
  Unit result{parameters_.gather(unit, version), {}};
  if (low_rank_.adapters != nullptr && version == Version::current) result.adapters = low_rank_.adapters->gather(unit);
  return result;
}

Network::Unit Network::gradient_buffers(int unit) {
  Unit result{parameters_.gradient_buffer(unit), {}};
  if (low_rank_.adapters != nullptr) result.adapters = low_rank_.adapters->gradient_buffer(unit);
  return result;
}

void Network::start_reduce(int unit, Unit gradient) {
  parameters_.start_reduce(unit, std::move(gradient.flat));
  if (low_rank_.adapters != nullptr) low_rank_.adapters->start_reduce(unit, std::move(gradient.adapters));
}

BlockTensors Network::block(int unit, const Unit& of) const {
  BlockTensors tensors = block_tensors(parameters_.layout(unit), of.flat);
  if (low_rank_.adapters != nullptr) {
    tensors.adapters = block_adapters(low_rank_.adapters->layout(unit), of.adapters);
  }
  return tensors;
}

at::Tensor Network::head_weight(const Unit& first, const Unit& last) const {
  if (spec_.tied_embeddings) return view(parameters_.layout(0), first.flat, kEmbedding);
  return view(parameters_.layout(parameters_.units() - 1), last.flat, kHead);
}

std::vector<RowStats> Network::evaluate(const MicroBatch& batch, double temperature, Version version) {
  const bool work = batch.rows() > 0;
  const int last = parameters_.units() - 1;
  const Unit first_unit = gather(0, version);
  start_gather(1, version);
  model::Rope rope;
  at::Tensor x;
  if (work) {
    rope = model::make_rope(spec_, batch.positions);
    x = view(parameters_.layout(0), first_unit.flat, kEmbedding).index_select(0, batch.ids);
  }
  const BlockContext context{spec_, batch.groups, rope, low_rank_.scale};
  for (int unit = 1; unit < last; ++unit) {
    const Unit weights = gather(unit, version);
    start_gather(unit + 1, version);
    if (work) x = block_forward(context, block(unit, weights), x, keep_, nullptr);
  }
  const Unit last_unit = gather(last, version);
  if (!work) return {};
  const Normed normed = rms_norm(x, view(parameters_.layout(last), last_unit.flat, kFinalNorm), spec_.norm_epsilon);
  return head_stats({batch, normed.out, head_weight(first_unit, last_unit), temperature});
}

void Network::train(const MicroBatch& batch, double temperature, const Loss& loss) {
  const bool work = batch.rows() > 0;
  const int last = parameters_.units() - 1;
  Unit first_unit = gather(0, Version::current);
  start_gather(1, Version::current);
  model::Rope rope;
  at::Tensor x;
  if (work) {
    rope = model::make_rope(spec_, batch.positions);
    x = view(parameters_.layout(0), first_unit.flat, kEmbedding).index_select(0, batch.ids);
  }
  if (!spec_.tied_embeddings) first_unit = {};

  const BlockContext context{spec_, batch.groups, rope, low_rank_.scale};
  std::vector<BlockActivations> saved(static_cast<std::size_t>(last));
  for (int unit = 1; unit < last; ++unit) {
    const Unit weights = gather(unit, Version::current);
    start_gather(unit + 1, Version::current);
    if (work) x = block_forward(context, block(unit, weights), x, keep_, &saved[static_cast<std::size_t>(unit)]);
  }

  const auto& last_layout = parameters_.layout(last);
  Unit last_unit = gather(last, Version::current);
  if (last > 1) start_gather(last - 1, Version::current);
  Unit first_gradient = gradient_buffers(0);
  Unit last_gradient = gradient_buffers(last);
  at::Tensor d_x;
  if (work) {
    const at::Tensor norm_weight = view(last_layout, last_unit.flat, kFinalNorm);
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
    d_x =
        rms_norm_backward(x, norm_weight, normed.rstd, d_normed, {}, view(last_layout, last_gradient.flat, kFinalNorm));
    x.reset();
  }
  first_unit = {};
  last_unit = {};
  start_reduce(last, std::move(last_gradient));

  for (int unit = last - 1; unit >= 1; --unit) {
    const Unit weights = gather(unit, Version::current);
    if (unit > 1) start_gather(unit - 1, Version::current);
    Unit gradient = gradient_buffers(unit);
    if (work) {
      d_x = block_backward(context, block(unit, weights), std::exchange(saved[static_cast<std::size_t>(unit)], {}), d_x,
                           block(unit, gradient));
    }
    start_reduce(unit, std::move(gradient));
  }
  const at::Tensor embedding_gradient = view(parameters_.layout(0), first_gradient.flat, kEmbedding);
  if (work && embedding_gradient.defined()) add_rows(d_x, batch.ids, embedding_gradient);
  start_reduce(0, std::move(first_gradient));
  parameters_.finish_reduce();
  if (low_rank_.adapters != nullptr) low_rank_.adapters->finish_reduce();
}

}  // namespace setrl::learn
