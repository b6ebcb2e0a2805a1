#include "store/hyperslab.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace setrl::store {
namespace {

// The flat indices of the boxes' elements, box after box in row-major order.
std::vector<std::int64_t> elements_of(const std::vector<std::int64_t>& shape, const std::vector<Box>& boxes) {
  std::vector<std::int64_t> flat;
  for (const auto& box : boxes) {
    std::vector<std::uint64_t> at = box.start;
    for (;;) {
      std::int64_t index = 0;
      for (std::size_t d = 0; d < shape.size(); ++d) index = index * shape[d] + static_cast<std::int64_t>(at[d]);
      flat.push_back(index);
      std::size_t d = shape.size();
      while (d > 0 && ++at[d - 1] == box.start[d - 1] + box.count[d - 1]) {
        at[d - 1] = box.start[d - 1];
        --d;
      }
      if (d == 0) break;
    }
  }
  return flat;
}

TEST(Hyperslab, BoxesAreTheRange) {
  const std::vector<std::vector<std::int64_t>> shapes = {{40}, {6, 7}, {1, 9}, {9, 1}, {3, 4, 5}, {2, 3, 1, 4}};
  for (const auto& shape : shapes) {
    std::int64_t elements = 1;
    for (const auto extent : shape) elements *= extent;
    for (std::int64_t begin = 0; begin <= elements; ++begin) {
      for (std::int64_t end = begin; end <= elements; ++end) {
        const auto boxes = boxes_of_range(shape, begin, end);
        EXPECT_LE(boxes.size(), 2 * shape.size() - 1);
        const auto flat = elements_of(shape, boxes);
        ASSERT_EQ(flat.size(), static_cast<std::size_t>(end - begin));
        for (std::int64_t i = begin; i < end; ++i) ASSERT_EQ(flat[static_cast<std::size_t>(i - begin)], i);
      }
    }
  }
}

TEST(Hyperslab, WholeTensorIsOneBox) {
  const auto boxes = boxes_of_range({30, 40, 50}, 0, 60000);
  ASSERT_EQ(boxes.size(), 1u);
  EXPECT_EQ(boxes[0].count, (std::vector<std::uint64_t>{30, 40, 50}));
  EXPECT_TRUE(boxes_of_range({0, 4}, 0, 0).empty());
}

}  // namespace
}  // namespace setrl::store
