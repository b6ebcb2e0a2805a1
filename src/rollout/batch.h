// The work of one forward pass: rows (tokens of any sequences, prefill and decode mixed), how attention goes over them,
// and the tokens to draw.
#pragma once

#include <cstdint>
#include <vector>

#include "rollout/page_pool.h"

namespace setrl::rollout {

struct SamplingOptions;

// One token: position `position` of the sequence whose pages are `pages`.
struct Row {
  std::int32_t token = 0;
  std::int32_t position = 0;
  const PagePool::Page* pages = nullptr;
};

// Consecutive rows that share their first `shared_pages` pages: the samples of one prompt (each row its own tail), or
// consecutive positions of one sequence (all pages shared). The shared part is read once for all of them.
struct AttentionTile {
  std::int64_t first_row = 0, rows = 0, shared_pages = 0;
};

// One token to draw from the logits of `logit_rows[logits]`.
struct DrawOrder {
  std::int64_t logits = 0;
  const SamplingOptions* options = nullptr;
  double uniform = 0;        // in [0, 1)
  std::int32_t forced = -1;  // 0 or more: not drawn, only its log-probability is wanted
};

struct Drawn {
  std::int32_t id = 0;
  float logprob = 0;
  bool finite = true;  // false: a logit was NaN or infinite, nothing was drawn
};

struct Batch {
  std::vector<Row> rows;                 // pages must exist for every row's position
  std::vector<AttentionTile> tiles;      // cover all rows, in order
  std::vector<std::int64_t> logit_rows;  // ascending
  std::vector<DrawOrder> draws;
  void clear() {
    rows.clear();
    tiles.clear();
    logit_rows.clear();
    draws.clear();
  }
};

}  // namespace setrl::rollout
