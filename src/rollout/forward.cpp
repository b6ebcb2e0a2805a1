#include "rollout/forward.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "model/decoder.h"
#include "rollout/row_blocks.h"

namespace setrl::rollout {

namespace {
// Row distance in bytes: whole cache lines, and one more so that rows do not fall on the same cache sets.
std::int64_t row_stride(std::int64_t columns, std::int64_t element_bytes) {
  return round_up(round_up(columns, kTileColumns) * element_bytes, 64) + 64;
}
}  // namespace

Forward::Forward(const Weights& weights, const Kernels& kernels, const KvCache& cache)
    : weights_(weights),
      kernels_(kernels),
      cache_(cache),
      attention_(weights.local(), kernels, cache),
      spec_(weights.local()),
      comm_(weights.shard().comm) {
  const std::int64_t q = spec_.heads * spec_.head_size, act = kernels.act_bytes;
  residual_.stride = row_stride(spec_.hidden, 4);
  normed_.stride = row_stride(spec_.hidden, act);
  final_.stride = normed_.stride;
  qkv_.stride = row_stride(q + 2 * spec_.kv_heads * spec_.head_size, 4);
  attended_.stride = row_stride(q, act);
  inner_.stride = row_stride(spec_.inner, act);
  q_stride_ = spec_.heads / spec_.kv_heads * spec_.head_size * act;
  partial_.stride = residual_.stride;
  local_stride_ = round_up(spec_.vocabulary, kTileColumns) + 16;
  logit_stride_ = round_up(weights.spec().vocabulary, kTileColumns) + 16;
}

void Forward::grow_rope(std::int64_t positions) {
  const std::int64_t half = spec_.head_size / 2, known = static_cast<std::int64_t>(cos_.size()) / half;
  if (positions <= known) return;
  const std::int64_t wanted = round_up(positions, 1024);
  const auto rope = model::make_rope(spec_, at::arange(wanted, at::kLong));
  const auto take = [&](const at::Tensor& table) {
    const at::Tensor first = table.narrow(1, 0, half).contiguous();
    return std::vector<float>(first.const_data_ptr<float>(), first.const_data_ptr<float>() + first.numel());
  };
  cos_ = take(rope.cos);
  sin_ = take(rope.sin);
}

void Forward::reserve(const ThreadTeam& team, const Batch& batch) {
  const auto rows = static_cast<std::int64_t>(batch.rows.size());
  const auto logit_rows = static_cast<std::int64_t>(batch.logit_rows.size());
  if (rows > capacity_) {
    capacity_ = rows;
    for (Rows* buffer : {&residual_, &normed_, &qkv_, &attended_, &inner_}) {
      buffer->block = MemoryBlock(capacity_ * buffer->stride);
    }
    if (comm_ != nullptr) partial_.block = MemoryBlock(capacity_ * partial_.stride);
    q_ = MemoryBlock(spec_.kv_heads * capacity_ * q_stride_);
  }
  if (logit_rows > logit_capacity_) {
    logit_capacity_ = logit_rows;
    final_.block = MemoryBlock(logit_capacity_ * final_.stride);
    logits_ = MemoryBlock(logit_capacity_ * logit_stride_ * 4);
    if (comm_ != nullptr) {
      local_logits_ = MemoryBlock(logit_capacity_ * local_stride_ * 4);
      gathered_ = MemoryBlock(weights_.shard().ranks * local_logits_.bytes());
    }
  }
  std::int64_t tile_rows = 0, length = 0;
  for (const auto& tile : batch.tiles) tile_rows = std::max(tile_rows, tile.rows);
  for (const auto& row : batch.rows) length = std::max<std::int64_t>(length, row.position + 1);
  find_last_tiles(batch);
  scratch_.resize(std::max(scratch_.size(), static_cast<std::size_t>(team.size())));
  draw_scratch_.resize(scratch_.size());
  for (auto& scratch : scratch_) attention_.reserve(scratch, tile_rows, length);
  grow_rope(length);
}

// The runs of logit rows in each tile.
void Forward::find_last_tiles(const Batch& batch) {
  last_tiles_.clear();
  auto row = batch.logit_rows.begin();
  for (const auto& tile : batch.tiles) {
    std::int64_t next = -1;
    for (; row != batch.logit_rows.end() && *row < tile.first_row + tile.rows; ++row) {
      if (*row == next) {
        ++last_tiles_.back().rows;
      } else {
        last_tiles_.push_back({*row, 1, tile.shared_pages});
      }
      next = *row + 1;
    }
  }
}

void Forward::run(ThreadTeam& team, const Batch& batch, std::vector<Drawn>& results) {
  reserve(team, batch);
  results.resize(batch.draws.size());
  team.run([&](int thread) {
    work(team, thread, batch, results);
    kernels_.release();
  });
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// The communicator belongs to the calling thread, and a body must not throw: after a failure the pass runs on without
// communication, and is thrown away.
template <class Verb>
void Forward::communicate(ThreadTeam& team, int thread, const Verb& verb) {
  team.once(thread, [&] {
    if (failure_) return;
    try {
      verb();
    } catch (...) {
      failure_ = std::current_exception();
    }
  });
}

void Forward::add_partial(ThreadTeam& team, int thread, std::int64_t rows) {
  if (comm_ == nullptr) return;
  communicate(team, thread, [&] {
    comm_->all_reduce(partial_.floats(0), static_cast<std::size_t>(rows * partial_.stride / 4), comm::Reduction::sum);
  });
  team.for_each(thread, rows, [&](std::int64_t row, std::int64_t) {
    float* to = residual_.floats(row);
    const float* from = partial_.floats(row);
    for (std::int64_t i = 0; i < spec_.hidden; ++i) to[i] += from[i];
  });
  lap(thread, Stage::communicate);
}

void Forward::gather_logits(ThreadTeam& team, int thread, std::int64_t rows) {
  if (comm_ == nullptr) return;
  const std::int64_t part = rows * local_stride_;
  communicate(team, thread, [&] {
    comm_->all_gather(local_logits_.floats(), static_cast<std::size_t>(part) * sizeof(float), gathered_.floats());
  });
  team.for_each(thread, rows, [&](std::int64_t row, std::int64_t) {
    for (int rank = 0; rank < weights_.shard().ranks; ++rank) {
      std::copy_n(gathered_.floats() + rank * part + row * local_stride_, spec_.vocabulary,
                  logits_.floats() + row * logit_stride_ + rank * spec_.vocabulary);
    }
  });
}

// The token's row, or zero where another rank holds it.
void Forward::embed(std::int32_t token, float* out) const {
  const std::int64_t local = token - weights_.shard().begin(weights_.spec().vocabulary);
  if (local >= 0 && local < spec_.vocabulary) {
    weights_.embedding().get_row(local, out);
  } else {
    std::fill_n(out, spec_.hidden, 0.0f);
  }
}

void Forward::work(ThreadTeam& team, int thread, const Batch& batch, std::vector<Drawn>& results) {
  const auto rows = static_cast<std::int64_t>(batch.rows.size());
  const auto epsilon = static_cast<float>(spec_.norm_epsilon);
  if (thread == 0) clock_.start();
  team.for_each(thread, rows, [&](std::int64_t row, std::int64_t) {
    embed(batch.rows[static_cast<std::size_t>(row)].token, residual_.floats(row));
  });
  if (comm_ != nullptr) {
    communicate(team, thread, [&] {
      comm_->all_reduce(residual_.floats(0), static_cast<std::size_t>(rows * residual_.stride / 4),
                        comm::Reduction::sum);
    });
  }
  lap(thread, Stage::embedding);
  const std::int64_t last = spec_.layers - 1;
  for (std::int64_t layer = 0; layer < last; ++layer) {
    store_keys(team, thread, batch, layer);
    attend(team, thread, batch, batch.tiles, layer);
    finish_layer(team, thread, rows, layer);
  }
  store_keys(team, thread, batch, last);
  const auto logit_rows = static_cast<std::int64_t>(batch.logit_rows.size());
  if (logit_rows == 0) return;
  attend(team, thread, batch, last_tiles_, last);
  if (logit_rows < rows) {
    team.once(thread, [&] {
      for (std::int64_t i = 0; i < logit_rows; ++i) {
        const std::int64_t row = batch.logit_rows[static_cast<std::size_t>(i)];
        std::memmove(residual_.at(i), residual_.at(row), static_cast<std::size_t>(residual_.stride));
        std::memmove(attended_.at(i), attended_.at(row), static_cast<std::size_t>(attended_.stride));
      }
    });
  }
  finish_layer(team, thread, logit_rows, last);
  for_each_row(team, thread, logit_rows, [&](std::int64_t row) {
    kernels_.rms_norm(residual_.floats(row), weights_.final_norm().data(), epsilon, spec_.hidden, final_.at(row));
  });
  lap(thread, Stage::norm);
  if (comm_ == nullptr) {
    product_into(team, thread, weights_.head(), final_, logit_rows, logits_.floats(), logit_stride_, false);
  } else {
    product_into(team, thread, weights_.head(), final_, logit_rows, local_logits_.floats(), local_stride_, false);
    gather_logits(team, thread, logit_rows);
  }
  lap(thread, Stage::head);
  team.for_each(thread, static_cast<std::int64_t>(batch.draws.size()), [&](std::int64_t i, std::int64_t) {
    const auto index = static_cast<std::size_t>(i);
    results[index] = draw(batch.draws[index], draw_scratch_[static_cast<std::size_t>(thread)]);
  });
  lap(thread, Stage::draw);
}

Drawn Forward::draw(const DrawOrder& order, SamplerScratch& scratch) const {
  const Sampler sampler(kernels_, weights_.spec().vocabulary, *order.options);
  const float* logits = logits_.floats() + order.logits * logit_stride_;
  return order.forced >= 0 ? sampler.score(logits, order.forced) : sampler.draw(logits, order.uniform, scratch);
}

template <class Body>
void Forward::for_each_row(ThreadTeam& team, int thread, std::int64_t rows, const Body& body) {
  // Neighbours together: the keys of 16 positions lie in the same cache lines.
  const std::int64_t chunk = std::clamp<std::int64_t>(rows / (4 * team.size()), 1, kPanelColumns);
  team.for_each(thread, (rows + chunk - 1) / chunk, [&](std::int64_t index, std::int64_t) {
    const std::int64_t end = std::min(rows, (index + 1) * chunk);
    for (std::int64_t row = index * chunk; row < end; ++row) body(row);
  });
}

void Forward::norm(ThreadTeam& team, int thread, const std::vector<float>& weight, std::int64_t rows) {
  const auto epsilon = static_cast<float>(spec_.norm_epsilon);
  for_each_row(team, thread, rows, [&](std::int64_t row) {
    kernels_.rms_norm(residual_.floats(row), weight.data(), epsilon, spec_.hidden, normed_.at(row));
  });
  lap(thread, Stage::norm);
}

void Forward::store_keys(ThreadTeam& team, int thread, const Batch& batch, std::int64_t index) {
  const LayerWeights& layer = weights_.layer(index);
  const auto rows = static_cast<std::int64_t>(batch.rows.size());
  norm(team, thread, layer.input_norm, rows);
  product_into(team, thread, layer.qkv, normed_, rows, qkv_.floats(0), qkv_.stride / 4, false);
  lap(thread, Stage::qkv);
  for_each_row(team, thread, rows, [&](std::int64_t row) { rotate_and_store(batch, layer, index, row); });
  lap(thread, Stage::rotate);
}

void Forward::attend(ThreadTeam& team, int thread, const Batch& batch, const std::vector<AttentionTile>& tiles,
                     std::int64_t index) {
  const std::int64_t count = static_cast<std::int64_t>(tiles.size()) * spec_.kv_heads;
  const auto item_of = [&](std::int64_t number) {
    const AttentionTile& tile = tiles[static_cast<std::size_t>(number / spec_.kv_heads)];
    return AttentionItem{&tile, batch.rows.data() + tile.first_row, number % spec_.kv_heads};
  };
  team.for_each(thread, count, [&](std::int64_t number, std::int64_t next_number) {
    const AttentionItem item = item_of(number), next = item_of(next_number < count ? next_number : number);
    const std::int64_t row = item.tile->first_row, head = item.kv_head;
    attention_.attend(item, next_number < count ? &next : nullptr, index,
                      q_.data() + (head * capacity_ + row) * q_stride_, attended_.at(row) + head * q_stride_,
                      attended_.stride, scratch_[static_cast<std::size_t>(thread)]);
  });
  lap(thread, Stage::attention);
}

void Forward::finish_layer(ThreadTeam& team, int thread, std::int64_t rows, std::int64_t index) {
  const LayerWeights& layer = weights_.layer(index);
  // Straight onto the residual stream, or this rank's part of the sum over the ranks.
  const bool whole = comm_ == nullptr;
  const Rows& sum = whole ? residual_ : partial_;
  product_into(team, thread, layer.out, attended_, rows, sum.floats(0), sum.stride / 4, whole);
  lap(thread, Stage::out);
  add_partial(team, thread, rows);
  norm(team, thread, layer.post_norm, rows);
  // As many tiles as fill a cache line of the result: threads that write into one line wait for each other.
  const std::int64_t group = std::max<std::int64_t>(64 / (kPanelColumns * kernels_.act_bytes), 1);
  product(team, thread, layer.gate_up, group, normed_, rows,
          [&](std::int64_t tile, std::int64_t row, int count, TileCall& call) {
            alignas(64) float gate_and_up[kMaxTileRows * kTileColumns];
            call.c = gate_and_up;
            call.c_stride = kTileColumns;
            kernels_.tile(count, call);
            kernels_.silu_mul(gate_and_up, count, inner_.at(row) + tile * kPanelColumns * kernels_.act_bytes,
                              inner_.stride);
          });
  lap(thread, Stage::gate_up);
  product_into(team, thread, layer.down, inner_, rows, sum.floats(0), sum.stride / 4, whole);
  lap(thread, Stage::down);
  add_partial(team, thread, rows);
}

void Forward::rotate_and_store(const Batch& batch, const LayerWeights& layer, std::int64_t index, std::int64_t row) {
  const Row& at = batch.rows[static_cast<std::size_t>(row)];
  const std::int64_t size = spec_.head_size, half = size / 2, group = spec_.heads / spec_.kv_heads;
  const auto epsilon = static_cast<float>(spec_.norm_epsilon);
  const KvCache::Page page = at.pages[at.position / kPageTokens];
  const std::int64_t slot = at.position % kPageTokens;
  for (std::int64_t n = 0; n < spec_.kv_heads; ++n) cache_.fetch(page, slot, index, n);
  float* q = qkv_.floats(row);
  float* k = q + spec_.heads * size;
  const float* v = k + spec_.kv_heads * size;
  if (spec_.qkv_bias) {
    for (std::size_t i = 0; i < layer.qkv_bias.size(); ++i) q[i] += layer.qkv_bias[i];
  }
  const float* cos = cos_.data() + at.position * half;
  const float* sin = sin_.data() + at.position * half;
  for (std::int64_t h = 0; h < spec_.heads; ++h) {
    if (spec_.qk_norm) kernels_.norm_head(q + h * size, layer.q_norm.data(), epsilon, size);
    kernels_.rotate(q + h * size, cos, sin, half);
  }
  for (std::int64_t n = 0; n < spec_.kv_heads; ++n) {
    kernels_.to_act(q + n * group * size, 1.0f, group * size, q_.data() + (n * capacity_ + row) * q_stride_);
    if (spec_.qk_norm) kernels_.norm_head(k + n * size, layer.k_norm.data(), epsilon, size);
    kernels_.rotate(k + n * size, cos, sin, half);
    cache_.write(page, slot, index, n, k + n * size, v + n * size);
  }
}

template <class Make>
void Forward::product(ThreadTeam& team, int thread, const PackedMatrix& weight, std::int64_t group, const Rows& input,
                      std::int64_t rows, const Make& make) {
  // A tile of weights is read from memory for the first block of rows and from cache for the others, while the next
  // tile is fetched.
  const std::int64_t tiles = weight.tiles(), tile_bytes = 2 * weight.panel_bytes();
  TileCall call;
  call.panel_bytes = weight.panel_bytes();
  call.depth = weight.depth();
  call.a_stride = input.stride;
  team.for_each(thread, (tiles + group - 1) / group, [&](std::int64_t index, std::int64_t next) {
    const std::int64_t end = std::min(tiles, (index + 1) * group);
    for (std::int64_t tile = index * group; tile < end; ++tile) {
      const std::int64_t following = tile + 1 < end ? tile + 1 : next * group;
      const char* ahead = weight.tile(following < tiles ? following : tile);
      call.b = weight.tile(tile);
      for_each_block(rows, kernels_.max_rows,
                     [&](std::int64_t row, int count, std::int64_t block, std::int64_t blocks) {
                       call.a = input.at(row);
                       call.prefetch = ahead + tile_bytes * block / blocks;
                       call.prefetch_step = std::max<std::int64_t>(128 / blocks, 1);
                       call.reuse_b = blocks > 1;
                       make(tile, row, count, call);
                     });
    }
  });
}

void Forward::product_into(ThreadTeam& team, int thread, const PackedMatrix& weight, const Rows& input,
                           std::int64_t rows, float* out, std::int64_t out_stride, bool add) {
  product(team, thread, weight, 1, input, rows, [&](std::int64_t tile, std::int64_t row, int count, TileCall& call) {
    call.c = out + row * out_stride + tile * kTileColumns;
    call.c_stride = out_stride;
    call.add = add;
    kernels_.tile(count, call);
  });
}

}  // namespace setrl::rollout
