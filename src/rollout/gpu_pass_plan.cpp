#include "rollout/gpu_pass_plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "rollout/engine.h"

namespace setrl::rollout::gpu {

namespace {

constexpr std::int64_t kAlign = 16;
constexpr std::int64_t kChunkPages = kChunk / kPage;

}  // namespace

DrawOrder order_of(const rollout::DrawOrder& wanted) {
  const SamplingOptions& options = *wanted.options;
  DrawOrder order;
  order.uniform = wanted.uniform;
  order.greedy = options.temperature == 0 ? 1 : 0;
  order.temperature = options.temperature > 0 ? options.temperature : 1.0;
  order.inverse_temperature = static_cast<float>(1.0 / order.temperature);
  order.top_k = options.top_k;
  order.top_p = options.top_p;
  order.has_min_p = options.min_p > 0 ? 1 : 0;
  if (options.min_p > 0) order.min_p_distance = order.temperature * std::log(options.min_p);
  order.logits = static_cast<std::int32_t>(wanted.logits);
  order.forced = wanted.forced;
  return order;
}

std::int64_t padded_count(std::int64_t count) {
  constexpr std::int64_t kLargest = 256;
  if (count > kLargest) return round_up(count, kLargest);
  std::int64_t padded = count > 0 ? 1 : 0;
  while (padded < count) padded *= 2;
  return padded;
}

PassLayout::PassLayout(const PassShape& shape) {
  std::int64_t end = 0;
  const auto place = [&](std::int64_t bytes) {
    const std::int64_t begin = end;
    end = round_up(begin + bytes, kAlign);
    return begin;
  };
  draws = place(shape.draws * static_cast<std::int64_t>(sizeof(DrawOrder)));
  items = place(shape.items * static_cast<std::int64_t>(sizeof(AttentionItem)));
  tokens = place(shape.rows * 4);
  positions = place(shape.rows * 4);
  page_begin = place(shape.rows * 4);
  partial_begin = place(shape.rows * 4);
  logit_rows = place(shape.logit_rows * 4);
  pages = end;
}

void PassPlan::make(const Batch& batch, const GpuKvCache& cache) {
  plan_rows(batch, cache);
  plan_attention(batch);
  const auto rows = static_cast<std::int64_t>(batch.rows.size());
  const auto logit_rows = static_cast<std::int64_t>(batch.logit_rows.size());
  shape_.rows = padded_count(rows);
  shape_.items = padded_count(static_cast<std::int64_t>(items_.size()));
  shape_.every_row = logit_rows == rows;
  shape_.logit_rows = padded_count(logit_rows);
  shape_.draws = padded_count(static_cast<std::int64_t>(batch.draws.size()));
  write(batch);
}

void PassPlan::plan_rows(const Batch& batch, const GpuKvCache& cache) {
  page_begin_.clear();
  pages_.assign(1, 0);  // of rows that only fill up
  longest_ = 0;
  const Row* before = nullptr;
  for (const Row& row : batch.rows) {
    // Consecutive rows of one sequence have one list.
    const bool same = before != nullptr && before->pages == row.pages && before->position < row.position;
    page_begin_.push_back(same ? page_begin_.back() : static_cast<std::int32_t>(pages_.size()));
    const auto end = PagePool::pages_of(row.position + 1);
    for (auto i = static_cast<std::int64_t>(pages_.size()) - page_begin_.back(); i < end; ++i) {
      pages_.push_back(cache.number(row.pages[i]));
    }
    longest_ = std::max<std::int64_t>(longest_, row.position + 1);
    before = &row;
  }
}

// The positions of one sequence in a tile are one item, which goes over all chunks. Of other tiles, whose rows decode,
// each chunk is an item: for all rows together where all of its pages are shared, else for each row.
void PassPlan::plan_attention(const Batch& batch) {
  items_.clear();
  partial_begin_.assign(batch.rows.size(), -1);
  partials_ = 0;
  std::int64_t most = 0;
  const auto add = [&](std::int64_t first_row, std::int64_t rows, std::int64_t first_chunk, std::int64_t chunks) {
    items_.push_back({static_cast<std::int32_t>(first_row), static_cast<std::int32_t>(rows),
                      static_cast<std::int32_t>(first_chunk), static_cast<std::int32_t>(chunks)});
    most = std::max(most, rows * group_);
  };
  for (const AttentionTile& tile : batch.tiles) {
    std::int64_t end = 0;
    for (std::int64_t i = tile.first_row; i < tile.first_row + tile.rows; ++i) {
      end = std::max<std::int64_t>(end, batch.rows[static_cast<std::size_t>(i)].position + 1);
    }
    if (PagePool::pages_of(end) <= tile.shared_pages) {
      add(tile.first_row, tile.rows, 0, (end - 1) / kChunk + 1);
      continue;
    }
    const std::int64_t shared = tile.rows > 1 ? tile.shared_pages / kChunkPages : 0;
    for (std::int64_t c = 0; c < shared; ++c) add(tile.first_row, tile.rows, c, 1);
    for (std::int64_t i = tile.first_row; i < tile.first_row + tile.rows; ++i) {
      const std::int64_t chunks = batch.rows[static_cast<std::size_t>(i)].position / kChunk + 1;
      for (std::int64_t c = shared; c < chunks; ++c) add(i, 1, c, 1);
      if (chunks == 1) continue;
      partial_begin_[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(partials_);
      partials_ += chunks;
    }
  }
  SETRL_CHECK(most <= kMostQueryRows, "an attention tile of {} query rows", most);
  shape_.wide = most > kFewQueryRows;
  shape_.split = partials_ > 0;
}

void PassPlan::write(const Batch& batch) {
  const PassLayout layout(shape_);
  bytes_.assign(static_cast<std::size_t>(layout.pages) + pages_.size() * sizeof(std::int32_t), 0);
  const auto put = [&](std::int64_t begin, std::size_t index, const auto& value) {
    std::memcpy(bytes_.data() + begin + index * sizeof value, &value, sizeof value);
  };
  for (std::size_t i = 0; i < static_cast<std::size_t>(shape_.draws); ++i) {
    put(layout.draws, i, i < batch.draws.size() ? order_of(batch.draws[i]) : DrawOrder{});
  }
  for (std::size_t i = 0; i < items_.size(); ++i) put(layout.items, i, items_[i]);
  for (std::size_t i = 0; i < static_cast<std::size_t>(shape_.rows); ++i) {
    const bool fills = i >= batch.rows.size();
    put(layout.tokens, i, fills ? std::int32_t{-1} : batch.rows[i].token);
    put(layout.positions, i, fills ? std::int32_t{0} : batch.rows[i].position);
    put(layout.page_begin, i, fills ? std::int32_t{0} : page_begin_[i]);
    put(layout.partial_begin, i, fills ? std::int32_t{-1} : partial_begin_[i]);
  }
  for (std::size_t i = 0; i < batch.logit_rows.size(); ++i) {
    put(layout.logit_rows, i, static_cast<std::int32_t>(batch.logit_rows[i]));
  }
  std::memcpy(bytes_.data() + layout.pages, pages_.data(), pages_.size() * sizeof(std::int32_t));
}

}  // namespace setrl::rollout::gpu
