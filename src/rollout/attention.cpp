#include "rollout/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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
std::int64_t longest(const AttentionTile& tile, const Row* rows) {
  std::int64_t length = 0;
  for (std::int64_t i = 0; i < tile.rows; ++i) length = std::max<std::int64_t>(length, rows[i].position + 1);
  return length;
}
void prefetch_lines(const char* from, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
}

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
  scratch.sums.resize(std::max(scratch.sums.size(), static_cast<std::size_t>(heads)));
}

void Attention::score_page(const char* q, std::int64_t rows, const char* keys, float* scores,
                           std::int64_t stride) const {
  TileCall call;
  call.a_stride = head_size_ * kernels_.act_bytes;
  call.b = keys;
  call.panel_bytes = cache_.key_layout().panel_bytes();
  call.depth = head_size_;
  call.c_stride = stride;
  call.prefetch = keys;
  for (std::int64_t r = 0; r < rows; r += kernels_.max_rows) {
    call.a = q + r * call.a_stride;
    call.c = scores + r * stride;
    kernels_.tile(static_cast<int>(std::min<std::int64_t>(rows - r, kernels_.max_rows)), call);
  }
}

void Attention::value_page(const char* probs, std::int64_t stride, std::int64_t rows, const char* values,
                           float* out) const {
  TileCall call;
  call.a_stride = stride * kernels_.act_bytes;
  call.panel_bytes = cache_.value_layout().panel_bytes();
  call.depth = kPageTokens;
  call.c_stride = value_columns_;
  call.add = true;
  call.prefetch = values;
  for (std::int64_t column = 0; column < value_columns_; column += kTileColumns) {
    call.b = values + column / kPanelColumns * call.panel_bytes;
    for (std::int64_t r = 0; r < rows; r += kernels_.max_rows) {
      call.a = probs + r * call.a_stride;
      call.c = out + r * value_columns_ + column;
      kernels_.tile(static_cast<int>(std::min<std::int64_t>(rows - r, kernels_.max_rows)), call);
    }
  }
}

void Attention::attend(const AttentionTile& tile, const Row* rows, std::int64_t layer, std::int64_t kv_head,
                       const char* q, char* out, std::int64_t out_stride, AttentionScratch& scratch) const {
  const std::int64_t length = longest(tile, rows), stride = score_stride(length), heads = per_kv_head_;
  const std::int64_t q_bytes = head_size_ * kernels_.act_bytes;
  float* scores = scratch.scores.floats();
  char* probs = scratch.probs.data();
  float* sums_out = scratch.out.floats();

  // Calls visit(first row, rows, page index, page) for the shared pages of all rows, then for each row's own pages.
  const auto for_each_page = [&](bool of_values, auto&& visit) {
    const auto fetch = [&](KvCache::Page page) {
      const char* from = of_values ? cache_.values(page, layer, kv_head) : cache_.keys(page, layer, kv_head);
      prefetch_lines(from, of_values ? cache_.value_bytes() : cache_.key_bytes());
    };
    for (std::int64_t p = 0; p < tile.shared_pages; ++p) {
      if (p + 1 < tile.shared_pages) fetch(rows[0].pages[p + 1]);
      visit(std::int64_t{0}, tile.rows, p, rows[0].pages[p]);
    }
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t pages = rows[i].position / kPageTokens + 1;
      for (std::int64_t p = tile.shared_pages; p < pages; ++p) {
        if (p + 1 < pages) {
          fetch(rows[i].pages[p + 1]);
        } else if (i + 1 < tile.rows) {
          fetch(rows[i + 1].pages[tile.shared_pages]);
        }
        visit(i, std::int64_t{1}, p, rows[i].pages[p]);
      }
    }
  };

  for_each_page(false, [&](std::int64_t row, std::int64_t count, std::int64_t p, KvCache::Page page) {
    score_page(q + row * heads * q_bytes, count * heads, cache_.keys(page, layer, kv_head),
               scores + row * heads * stride + p * kPageTokens, stride);
  });
  for (std::int64_t i = 0; i < tile.rows * heads; ++i) {
    const std::int64_t own = rows[i / heads].position + 1;
    const std::int64_t padded = std::max(padded_length(own), tile.shared_pages * kPageTokens);
    scratch.sums[static_cast<std::size_t>(i)] =
        kernels_.softmax(scores + i * stride, own, padded, scale_, probs + i * stride * kernels_.act_bytes);
  }
  std::memset(sums_out, 0, static_cast<std::size_t>(tile.rows * heads * value_columns_) * sizeof(float));
  for_each_page(true, [&](std::int64_t row, std::int64_t count, std::int64_t p, KvCache::Page page) {
    value_page(probs + (row * heads * stride + p * kPageTokens) * kernels_.act_bytes, stride, count * heads,
               cache_.values(page, layer, kv_head), sums_out + row * heads * value_columns_);
  });
  for (std::int64_t i = 0; i < tile.rows * heads; ++i) {
    kernels_.to_act(sums_out + i * value_columns_, 1.0f / scratch.sums[static_cast<std::size_t>(i)], head_size_,
                    out + i / heads * out_stride + i % heads * q_bytes);
  }
}

}  // namespace setrl::rollout
