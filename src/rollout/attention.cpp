#include "rollout/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "rollout/row_blocks.h"

namespace setrl::rollout {

namespace {

constexpr std::int64_t kScratchScores = 256 * 1024;

std::int64_t padded_length(std::int64_t length) {
  return round_up(length, kPageTokens);
}
// Distance of two rows of scores: 16 more than needed, so that rows do not fall on the same cache sets.
std::int64_t score_stride(std::int64_t length) {
  return padded_length(length) + 16;
}
std::int64_t longest(const AttentionItem& item) {
  std::int64_t length = 0;
  for (std::int64_t i = 0; i < item.tile->rows; ++i) {
    length = std::max<std::int64_t>(length, item.rows[i].position + 1);
  }
  return length;
}

// How many blocks of keys or values (one head of one page) are fetched ahead: enough to hide the latency of memory.
constexpr std::size_t kAhead = 2;

}  // namespace

Attention::Attention(const model::ModelSpec& spec, const Kernels& kernels, const KvCache& cache)
    : kernels_(kernels),
      cache_(cache),
      per_kv_head_(spec.heads / spec.kv_heads),
      head_size_(spec.head_size),
      value_columns_(round_up(spec.head_size, kTileColumns)),
      scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.head_size)))) {}

std::int64_t Attention::tile_rows(std::int64_t length) const {
  return std::clamp<std::int64_t>(kScratchScores / (score_stride(length) * per_kv_head_), 1, 16);
}

void Attention::reserve(AttentionScratch& scratch, std::int64_t rows, std::int64_t length) const {
  const std::int64_t heads = rows * per_kv_head_;
  scratch.scores.reserve(heads * score_stride(length) * 4);
  scratch.probs.reserve(heads * score_stride(length) * kernels_.act_bytes);
  scratch.out.reserve(heads * value_columns_ * 4);
  const auto visits = static_cast<std::size_t>(rows * KvCache::pages_of(length));
  // With room for sequences that grow: a decode step asks for no memory.
  if (scratch.visits.capacity() < visits) scratch.visits.reserve(visits + static_cast<std::size_t>(32 * rows));
  scratch.sums.resize(std::max(scratch.sums.size(), static_cast<std::size_t>(heads)));
}

void Attention::score_page(const char* q, std::int64_t rows, const char* keys, float* scores, std::int64_t stride,
                           const char* ahead) const {
  TileCall call;
  call.a_stride = head_size_ * kernels_.act_bytes;
  call.b = keys;
  call.panel_bytes = cache_.key_layout().panel_bytes();
  call.depth = head_size_;
  call.c_stride = stride;
  for_each_block(rows, kernels_.max_rows, [&](std::int64_t r, int count, std::int64_t block, std::int64_t blocks) {
    call.a = q + r * call.a_stride;
    call.c = scores + r * stride;
    call.prefetch = ahead + 2 * call.panel_bytes * block / blocks;
    call.prefetch_step = 128 / blocks;
    call.reuse_b = blocks > 1;
    kernels_.tile(count, call);
  });
}

void Attention::value_page(const char* probs, std::int64_t stride, std::int64_t rows, const char* values, float* out,
                           const char* ahead) const {
  TileCall call;
  call.a_stride = stride * kernels_.act_bytes;
  call.panel_bytes = cache_.value_layout().panel_bytes();
  call.depth = kPageTokens;
  call.c_stride = value_columns_;
  call.add = true;
  for (std::int64_t column = 0; column < value_columns_; column += kTileColumns) {
    const std::int64_t offset = column / kPanelColumns * call.panel_bytes;
    call.b = values + offset;
    for_each_block(rows, kernels_.max_rows, [&](std::int64_t r, int count, std::int64_t block, std::int64_t blocks) {
      call.a = probs + r * call.a_stride;
      call.c = out + r * value_columns_ + column;
      call.prefetch = ahead + offset + 2 * call.panel_bytes * block / blocks;
      call.prefetch_step = 128 / blocks;
      call.reuse_b = blocks > 1;
      kernels_.tile(count, call);
    });
  }
}

// The shared pages for all rows, then each row's own ones.
void Attention::find_visits(const AttentionItem& item, std::vector<AttentionScratch::Visit>& visits) const {
  const AttentionTile& tile = *item.tile;
  visits.clear();
  for (std::int64_t p = 0; p < tile.shared_pages; ++p) visits.push_back({0, tile.rows, p, item.rows[0].pages[p]});
  for (std::int64_t i = 0; i < tile.rows; ++i) {
    const std::int64_t pages = item.rows[i].position / kPageTokens + 1;
    for (std::int64_t p = tile.shared_pages; p < pages; ++p) visits.push_back({i, 1, p, item.rows[i].pages[p]});
  }
}

void Attention::attend(const AttentionItem& item, const AttentionItem* next, std::int64_t layer, const char* q,
                       char* out, std::int64_t out_stride, AttentionScratch& scratch) const {
  const AttentionTile& tile = *item.tile;
  const std::int64_t length = longest(item), stride = score_stride(length), heads = per_kv_head_;
  const std::int64_t q_bytes = head_size_ * kernels_.act_bytes;
  float* scores = scratch.scores.floats();
  char* probs = scratch.probs.data();
  float* sums_out = scratch.out.floats();
  find_visits(item, scratch.visits);
  const auto& visits = scratch.visits;

  // All keys are read, then all values, then the next item's keys: the block `kAhead` places behind number `index`.
  const auto ahead = [&](std::size_t index) -> const char* {
    index += kAhead;
    if (index < visits.size()) return cache_.keys(visits[index].page, layer, item.kv_head);
    index -= visits.size();
    if (index < visits.size()) return cache_.values(visits[index].page, layer, item.kv_head);
    index -= visits.size();
    // (A first row may have fewer pages: then its last one again.)
    if (next == nullptr) return q;
    const auto last = static_cast<std::size_t>(next->rows[0].position / kPageTokens);
    return cache_.keys(next->rows[0].pages[std::min(index, last)], layer, next->kv_head);
  };

  for (std::size_t i = 0; i < visits.size(); ++i) {
    const auto& visit = visits[i];
    score_page(q + visit.row * heads * q_bytes, visit.rows * heads, cache_.keys(visit.page, layer, item.kv_head),
               scores + visit.row * heads * stride + visit.index * kPageTokens, stride, ahead(i));
  }
  for (std::int64_t i = 0; i < tile.rows * heads; ++i) {
    const std::int64_t own = item.rows[i / heads].position + 1;
    const std::int64_t padded = std::max(padded_length(own), tile.shared_pages * kPageTokens);
    scratch.sums[static_cast<std::size_t>(i)] =
        kernels_.softmax(scores + i * stride, own, padded, scale_, probs + i * stride * kernels_.act_bytes);
  }
  std::memset(sums_out, 0, static_cast<std::size_t>(tile.rows * heads * value_columns_) * sizeof(float));
  for (std::size_t i = 0; i < visits.size(); ++i) {
    const auto& visit = visits[i];
    value_page(probs + (visit.row * heads * stride + visit.index * kPageTokens) * kernels_.act_bytes, stride,
               visit.rows * heads, cache_.values(visit.page, layer, item.kv_head),
               sums_out + visit.row * heads * value_columns_, ahead(visits.size() + i));
  }
  for (std::int64_t i = 0; i < tile.rows * heads; ++i) {
    kernels_.to_act(sums_out + i * value_columns_, 1.0f / scratch.sums[static_cast<std::size_t>(i)], head_size_,
                    out + i / heads * out_stride + i % heads * q_bytes);
  }
}

}  // namespace setrl::rollout
