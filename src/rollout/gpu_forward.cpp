#include "rollout/gpu_forward.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "model/decoder.h"

namespace setrl::rollout::gpu {

namespace {

float* floats(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<float>() : nullptr;
}

}  // namespace

GpuForward::GpuForward(Runtime& runtime, const GpuWeights& weights, bool bf16, std::int64_t rows,
                       std::int64_t logit_rows)
    : runtime_(runtime),
      weights_(weights),
      spec_(weights.local()),
      sums_(runtime, weights.shard().comm),
      bf16_(bf16),
      plan_(spec_.heads / spec_.kv_heads) {
  rows_ = padded_count(rows);
  logit_rows_ = padded_count(logit_rows);
  make_buffers();
}

void GpuForward::make_buffers() {
  const auto plain = at::TensorOptions().device(runtime_.device()).dtype(at::kFloat);
  const auto stored = plain.dtype(bf16_ ? at::kBFloat16 : at::kFloat);
  const std::int64_t q = spec_.heads * spec_.head_size, kv = spec_.kv_heads * spec_.head_size;
  const std::int64_t vocabulary = weights_.spec().vocabulary, ranks = weights_.shard().ranks;
  Buffers& b = buffers_;
  b.residual = at::empty({rows_, spec_.hidden}, plain);
  b.sum = at::empty({rows_, spec_.hidden}, plain);
  b.qkv = at::empty({rows_, q + 2 * kv}, plain);
  b.gate_up = at::empty({rows_, 2 * spec_.inner}, plain);
  b.normed = at::empty({rows_, spec_.hidden}, stored);
  b.attended = at::zeros({rows_, q}, stored);  // rows that only fill up are not written
  b.inner = at::empty({rows_, spec_.inner}, stored);
  b.last_residual = at::empty({logit_rows_, spec_.hidden}, plain);
  b.last_attended = at::empty({logit_rows_, q}, stored);
  b.logits = at::empty({logit_rows_, vocabulary}, plain);
  if (!sums_.alone()) {
    b.local_logits = at::empty({logit_rows_, spec_.vocabulary}, plain);
    b.gathered = at::empty({ranks * logit_rows_, spec_.vocabulary}, plain);
  }
}

std::int64_t GpuForward::graphs() const {
  return std::count_if(recorded_.begin(), recorded_.end(),
                       [](const auto& entry) { return entry.second.graph != nullptr; });
}

void GpuForward::grow_rope(std::int64_t positions) {
  constexpr std::int64_t kStep = 4096;
  const std::int64_t half = spec_.head_size / 2;
  const auto rope = model::make_rope(spec_, at::arange(round_up(positions, kStep), at::kLong));
  buffers_.cos = rope.cos.narrow(1, 0, half).contiguous().to(runtime_.device());
  buffers_.sin = rope.sin.narrow(1, 0, half).contiguous().to(runtime_.device());
}

// Larger buffers lie elsewhere: what was recorded with the old ones is void.
void GpuForward::reserve(const PassPlan& plan) {
  const PassShape& shape = plan.shape();
  const auto options = at::TensorOptions().device(runtime_.device());
  bool moved = false;
  if (shape.rows > rows_ || shape.logit_rows > logit_rows_) {
    rows_ = std::max(rows_, shape.rows);
    logit_rows_ = std::max(logit_rows_, shape.logit_rows);
    make_buffers();
    moved = true;
  }
  if (plan.partials() > partials_) {
    partials_ = std::max(plan.partials(), 2 * partials_);
    buffers_.partial_out = at::empty({partials_ * spec_.heads, spec_.head_size}, options.dtype(at::kFloat));
    buffers_.partial_max = at::empty({partials_ * spec_.heads}, options.dtype(at::kFloat));
    buffers_.partial_sum = at::empty_like(buffers_.partial_max);
    moved = true;
  }
  const auto bytes = static_cast<std::int64_t>(plan.bytes().size());
  if (!host_plan_.defined() || bytes > host_plan_.numel()) {
    const std::int64_t wanted = 2 * std::max<std::int64_t>(bytes, 4096);
    host_plan_ = runtime_.pinned(wanted);
    buffers_.plan = at::empty({wanted}, options.dtype(at::kByte));
    moved = true;
  }
  if (shape.draws > draws_) {
    draws_ = std::max(shape.draws, 2 * draws_);
    const std::int64_t wanted = draws_ * static_cast<std::int64_t>(sizeof(DrawResult));
    host_results_ = runtime_.pinned(wanted);
    buffers_.results = at::empty({wanted}, options.dtype(at::kByte));
    moved = true;
  }
  if (!buffers_.cos.defined() || plan.longest() > buffers_.cos.size(0)) {
    grow_rope(plan.longest());
    moved = true;
  }
  if (moved) recorded_.clear();
}

template <typename T>
const T* GpuForward::planned(std::int64_t offset) const {
  return reinterpret_cast<const T*>(buffers_.plan.data_ptr<std::uint8_t>() + offset);
}

void GpuForward::run(const Batch& batch, GpuKvCache& cache, std::vector<Drawn>& results) {
  plan_.make(batch, cache);
  const PassShape& shape = plan_.shape();
  const std::size_t draws = batch.draws.size();
  runtime_.on_stream([&] {
    reserve(plan_);
    const auto bytes = static_cast<std::int64_t>(plan_.bytes().size());
    std::memcpy(host_plan_.data_ptr(), plan_.bytes().data(), plan_.bytes().size());
    buffers_.plan.narrow(0, 0, bytes).copy_(host_plan_.narrow(0, 0, bytes), true);
    launch(shape, cache);
    if (draws > 0) {
      const auto wanted = static_cast<std::int64_t>(draws * sizeof(DrawResult));
      host_results_.narrow(0, 0, wanted).copy_(buffers_.results.narrow(0, 0, wanted), true);
    }
  });
  sums_.wait();
  runtime_.wait();
  results.resize(draws);
  const auto* drawn = draws > 0 ? static_cast<const DrawResult*>(host_results_.data_ptr()) : nullptr;
  for (std::size_t i = 0; i < draws; ++i) results[i] = {drawn[i].id, drawn[i].logprob, drawn[i].finite != 0};
}

void GpuForward::launch(const PassShape& shape, const GpuKvCache& cache) {
  // Prompts are long and of any shape: nothing is won by recording them.
  const bool decodes = shape.every_row && shape.draws == shape.rows && sums_.alone();
  if (!decodes) return enqueue(shape, cache.view());
  Recorded& recorded = recorded_[shape];
  if (++recorded.passes == 2) {
    recorded.graph = runtime_.capture([this, shape, view = cache.view()] { enqueue(shape, view); });
  }
  if (recorded.graph == nullptr) return enqueue(shape, cache.view());
  recorded.graph->replay();
}

void GpuForward::enqueue(const PassShape& shape, const Cache& cache) {
  const Buffers& b = buffers_;
  const PassLayout layout(shape);
  const Stream stream = runtime_.stream();
  const auto epsilon = static_cast<float>(spec_.norm_epsilon);
  PageTable table;
  table.positions = planned<std::int32_t>(layout.positions);
  table.page_begin = planned<std::int32_t>(layout.page_begin);
  table.pages = planned<std::int32_t>(layout.pages);
  RotateArgs rotate;
  rotate.qkv = floats(b.qkv);
  rotate.epsilon = epsilon;
  rotate.cos = floats(b.cos);
  rotate.sin = floats(b.sin);
  rotate.rows = shape.rows;
  rotate.heads = spec_.heads;
  AttendArgs attend;
  attend.qkv = rotate.qkv;
  attend.heads = spec_.heads;
  attend.items = planned<AttentionItem>(layout.items);
  attend.item_count = shape.items;
  attend.wide = shape.wide;
  attend.partial_begin = planned<std::int32_t>(layout.partial_begin);
  attend.partial_out = floats(b.partial_out);
  attend.partial_max = floats(b.partial_max);
  attend.partial_sum = floats(b.partial_sum);
  attend.out = b.attended.data_ptr();

  embed(weights_.embedding().data_ptr(), bf16_, planned<std::int32_t>(layout.tokens),
        weights_.shard().begin(weights_.spec().vocabulary), spec_.vocabulary, shape.rows, spec_.hidden,
        floats(b.residual), stream);
  sums_.add(b.residual.narrow(0, 0, shape.rows));
  add_norm(floats(b.residual), {}, floats(weights_.layer(0).input_norm), epsilon, shape.rows, spec_.hidden,
           b.normed.data_ptr(), bf16_, stream);
  for (std::int64_t i = 0; i < spec_.layers; ++i) {
    const GpuLayerWeights& layer = weights_.layer(i);
    runtime_.product(b.normed.narrow(0, 0, shape.rows), layer.qkv, b.qkv.narrow(0, 0, shape.rows));
    rotate.bias = floats(layer.qkv_bias);
    rotate.q_norm = floats(layer.q_norm);
    rotate.k_norm = floats(layer.k_norm);
    rotate.layer = attend.layer = i;
    rotate_and_store(rotate, table, cache, stream);
    const bool last = i + 1 == spec_.layers;
    if (last && shape.logit_rows == 0) return;
    gpu::attend(attend, table, cache, stream);
    if (shape.split) merge_partials(attend, table, cache, shape.rows, stream);
    if (last && !shape.every_row) {
      const auto* rows = planned<std::int32_t>(layout.logit_rows);
      const std::int64_t q_bytes = spec_.heads * spec_.head_size * b.attended.element_size();
      gather_rows(b.residual.data_ptr(), rows, shape.logit_rows, spec_.hidden * 4, b.last_residual.data_ptr(), stream);
      gather_rows(b.attended.data_ptr(), rows, shape.logit_rows, q_bytes, b.last_attended.data_ptr(), stream);
      finish_layer(i, shape.logit_rows, b.last_residual, b.last_attended);
    } else {
      finish_layer(i, shape.rows, b.residual, b.attended);
    }
  }
  make_logits(shape.logit_rows);
  const std::int64_t vocabulary = weights_.spec().vocabulary;
  sample(floats(b.logits), vocabulary, vocabulary, planned<DrawOrder>(layout.draws), shape.draws,
         reinterpret_cast<DrawResult*>(b.results.data_ptr()), 0, stream);
}

// From the attention's output to the norm before the next layer, or before the head.
void GpuForward::finish_layer(std::int64_t index, std::int64_t rows, const at::Tensor& residual,
                              const at::Tensor& attended) {
  const Buffers& b = buffers_;
  const GpuLayerWeights& layer = weights_.layer(index);
  const Stream stream = runtime_.stream();
  const auto epsilon = static_cast<float>(spec_.norm_epsilon);
  const Addend attention = sums_.project(attended.narrow(0, 0, rows), layer.out, b.sum);
  add_norm(floats(residual), attention, floats(layer.post_norm), epsilon, rows, spec_.hidden, b.normed.data_ptr(),
           bf16_, stream);
  runtime_.product(b.normed.narrow(0, 0, rows), layer.gate_up, b.gate_up.narrow(0, 0, rows));
  silu_mul(floats(b.gate_up), rows, spec_.inner, b.inner.data_ptr(), bf16_, stream);
  const Addend inner = sums_.project(b.inner.narrow(0, 0, rows), layer.down, b.sum);
  const at::Tensor& next = index + 1 < spec_.layers ? weights_.layer(index + 1).input_norm : weights_.final_norm();
  add_norm(floats(residual), inner, floats(next), epsilon, rows, spec_.hidden, b.normed.data_ptr(), bf16_, stream);
}

void GpuForward::make_logits(std::int64_t rows) {
  const Buffers& b = buffers_;
  const at::Tensor normed = b.normed.narrow(0, 0, rows);
  if (sums_.alone()) return runtime_.product(normed, weights_.head(), b.logits.narrow(0, 0, rows));
  const std::int64_t ranks = weights_.shard().ranks;
  const at::Tensor local = b.local_logits.narrow(0, 0, rows);
  runtime_.product(normed, weights_.head(), local);
  sums_.gather(local, b.gathered);
  b.logits.narrow(0, 0, rows)
      .view({rows, ranks, spec_.vocabulary})
      .copy_(b.gathered.narrow(0, 0, ranks * rows).view({ranks, rows, spec_.vocabulary}).transpose(0, 1));
}

}  // namespace setrl::rollout::gpu
