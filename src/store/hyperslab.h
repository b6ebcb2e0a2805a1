// A flat range of a row-major tensor as boxes, for HDF5 virtual datasets.
#pragma once

#include <cstdint>
#include <vector>

namespace setrl::store {

// Elements start[d] .. start[d] + count[d] - 1 in every dimension d.
struct Box {
  std::vector<std::uint64_t> start;
  std::vector<std::uint64_t> count;
};

// Disjoint boxes whose elements, box after box in row-major order, are the elements [begin, end) of the flattened
// tensor. At most 2 * dimensions - 1 boxes; none where the range is empty. `shape` has at least one dimension.
std::vector<Box> boxes_of_range(const std::vector<std::int64_t>& shape, std::int64_t begin, std::int64_t end);

}  // namespace setrl::store
