// How many rows are cut into tile calls.
#pragma once

#include <algorithm>
#include <cstdint>

namespace setrl::rollout {

// Calls for `rows` rows of nearly equal height, the higher ones first (to change the height may cost a kernel time):
// body(first row, rows, call's index, calls).
template <class Body>
void for_each_block(std::int64_t rows, std::int64_t max_rows, const Body& body) {
  const std::int64_t blocks = (rows + max_rows - 1) / max_rows, height = rows / blocks, higher = rows % blocks;
  for (std::int64_t block = 0; block < blocks; ++block) {
    body(block * height + std::min(block, higher), static_cast<int>(height + (block < higher ? 1 : 0)), block, blocks);
  }
}

}  // namespace setrl::rollout
