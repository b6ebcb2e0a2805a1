#include "learn/buffers.h"

#include <gtest/gtest.h>

namespace setrl::learn {
namespace {

TEST(Buffers, MemoryThatNobodyHoldsIsUsedAgain) {
  Buffers buffers;
  at::Tensor first = buffers.take(100, at::kFloat);
  const void* memory = first.data_ptr();
  at::Tensor part = first.narrow(0, 50, 10);
  EXPECT_NE(buffers.take(100, at::kFloat).data_ptr(), memory);
  first.reset();
  const at::Tensor other = buffers.take(100, at::kFloat);
  EXPECT_NE(other.data_ptr(), memory) << "a view of it is alive";
  part.reset();
  EXPECT_EQ(buffers.take(100, at::kFloat).data_ptr(), memory);
  EXPECT_NE(buffers.take(100, at::kBFloat16).data_ptr(), memory);
  EXPECT_EQ(buffers.take(99, at::kFloat).numel(), 99);
}

}  // namespace
}  // namespace setrl::learn
