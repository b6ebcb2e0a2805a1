// Tests that fail on purpose, for check.py. Rank 1 is the one that misbehaves.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "support/mpi_world.h"

namespace {

using setrl::testing::world;

TEST(Selftest, PassesBefore) {
  world().barrier();
  EXPECT_EQ(world().size(), 3);
}

// The others pass.
TEST(Selftest, OneRankFails) {
  ASSERT_NE(world().rank(), 1) << "on purpose";
}

// The others wait for it in vain.
TEST(Selftest, OneRankLeavesEarly) {
  ASSERT_NE(world().rank(), 1) << "on purpose";
  world().barrier();
}

TEST(Selftest, OneRankThrows) {
  if (world().rank() == 1) throw std::runtime_error("thrown on purpose");
}

TEST(Selftest, OneRankHangs) {
  if (world().rank() == 1) std::this_thread::sleep_for(std::chrono::hours(1));
}

TEST(Selftest, OneRankExits) {
  if (world().rank() == 1) std::_Exit(0);
  world().barrier();
}

TEST(Selftest, PassesLater) {
  world().barrier();
}

}  // namespace
