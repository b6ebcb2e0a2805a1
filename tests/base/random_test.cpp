#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace setrl {
namespace {

// Known answers of Philox-4x32-10, published with Random123 (kat_vectors).
TEST(Philox, GivesThePublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformAt, IsAPureFunctionOfEachArgument) {
  std::set<double> seen;
  for (const std::uint64_t seed : {1ULL, 1ULL << 40}) {
    for (const std::uint64_t stream : {2ULL, 2ULL << 40}) {
      for (const std::uint32_t a : {3u, 4u}) {
        for (const std::uint32_t b : {5u, 6u}) {
          EXPECT_EQ(uniform_at(seed, stream, a, b), uniform_at(seed, stream, a, b));
          seen.insert(uniform_at(seed, stream, a, b));
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), 16u);
}

TEST(RandomStream, HasTheMomentsOfItsDistributions) {
  RandomStream random(7, 11);
  const int n = 100000;
  double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform();
    ASSERT_TRUE(u >= 0 && u < 1);
    sum += u;
    squares += u * u;
    const double z = random.normal();
    normal_sum += z;
    normal_squares += z * z;
  }
  EXPECT_NEAR(sum / n, 0.5, 0.005);
  EXPECT_NEAR(squares / n, 1.0 / 3, 0.005);
  EXPECT_NEAR(normal_sum / n, 0, 0.02);
  EXPECT_NEAR(normal_squares / n, 1, 0.03);
}

TEST(RandomStream, ShufflesIntoAPermutationAndChoosesByWeight) {
  RandomStream random(1, 2);
  std::vector<int> values{0, 1, 2, 3, 4, 5, 6, 7};
  random.shuffle(values);
  EXPECT_EQ(std::set<int>(values.begin(), values.end()).size(), 8u);
  std::vector<int> counts(3);
  for (int i = 0; i < 30000; ++i) ++counts[random.choose({1, 0, 3})];
  EXPECT_EQ(counts[1], 0);
  EXPECT_NEAR(counts[0] / 30000.0, 0.25, 0.015);
}

TEST(StableHash, DoesNotChangeBetweenBuilds) {
  EXPECT_NE(stable_hash("a"), stable_hash("b"));
  EXPECT_EQ(stable_hash("ddxplus/train/0"), stable_hash("ddxplus/train/0"));
}

}  // namespace
}  // namespace setrl
