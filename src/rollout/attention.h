// Grouped-query attention of a tile of rows over cached keys and values.
#pragma once

#include <cstdint>
#include <vector>

#include "rollout/batch.h"
#include "rollout/kernels.h"
#include "rollout/kv_cache.h"

namespace setrl::rollout {

// What attend() does for one kv head of a tile; `rows`: the tile's.
struct AttentionItem {
  const AttentionTile* tile = nullptr;
  const Row* rows = nullptr;
  std::int64_t kv_head = 0;
};

// Per-thread work space.
struct AttentionScratch {
  // Rows [row, row + rows) of a tile against page `index` of theirs.
  struct Visit {
    std::int64_t row = 0, rows = 0, index = 0;
    KvCache::Page page = nullptr;
  };
  std::vector<Visit> visits;
  MemoryBlock scores, probs, out;
  std::vector<float> sums;
};

class Attention {
 public:
  Attention(const model::ModelSpec& spec, const Kernels& kernels, const KvCache& cache);

  // Rows of a tile of sequences of up to `length` positions that keep its scratch within about 1 MB.
  std::int64_t tile_rows(std::int64_t length) const;
  void reserve(AttentionScratch& scratch, std::int64_t rows, std::int64_t length) const;

  // `q`: act [rows * H/N, D] of the kv head after RoPE, first row = the tile's first. `out`: act, the first row's first
  // element of this kv head's heads; rows `out_stride` bytes apart. The result of a row depends on its own keys only.
  // `next`: what this thread will attend to afterwards (its first pages are fetched meanwhile); null where nothing.
  void attend(const AttentionItem& item, const AttentionItem* next, std::int64_t layer, const char* q, char* out,
              std::int64_t out_stride, AttentionScratch& scratch) const;

 private:
  void find_visits(const AttentionItem& item, std::vector<AttentionScratch::Visit>& visits) const;
  // Scores of `rows` q rows (heads included) against one page, or their probabilities times its values, while as much
  // memory from `ahead` on is fetched.
  void score_page(const char* q, std::int64_t rows, const char* keys, float* scores, std::int64_t stride,
                  const char* ahead) const;
  void value_page(const char* probs, std::int64_t stride, std::int64_t rows, const char* values, float* out,
                  const char* ahead) const;

  const Kernels& kernels_;
  const KvCache& cache_;
  std::int64_t per_kv_head_, head_size_, value_columns_;
  float scale_;
};

}  // namespace setrl::rollout
