#include "store/crc32c.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"

namespace setrl::store {
namespace {

std::vector<std::uint8_t> noise(std::size_t size) {
  RandomStream random(3, size);
  std::vector<std::uint8_t> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.below(256));
  return bytes;
}

// The published check value, and the test patterns of RFC 3720, B.4.
TEST(Crc32c, KnownValues) {
  const std::string digits = "123456789";
  const std::vector<std::uint8_t> zeros(32, 0), ones(32, 0xFF);
  for (const auto function : {crc32c, crc32c_portable}) {
    EXPECT_EQ(function(digits.data(), digits.size(), 0), 0xE3069283u);
    EXPECT_EQ(function(zeros.data(), zeros.size(), 0), 0x8A9136AAu);
    EXPECT_EQ(function(ones.data(), ones.size(), 0), 0x62A8AB43u);
    EXPECT_EQ(function(nullptr, 0, 0), 0u);
  }
}

TEST(Crc32c, BothWaysAgreeOnAllSizesAndAlignments) {
  const auto bytes = noise(200000);
  for (const std::size_t size : {1u, 7u, 8u, 9u, 100u, 16384u, 49151u, 49152u, 49153u, 98304u, 150001u, 199990u}) {
    for (std::size_t shift = 0; shift < 9; ++shift) {
      EXPECT_EQ(crc32c(bytes.data() + shift, size), crc32c_portable(bytes.data() + shift, size)) << size;
    }
  }
}

TEST(Crc32c, ContinuesAndCombines) {
  const auto bytes = noise(120000);
  const std::uint32_t whole = crc32c(bytes.data(), bytes.size());
  for (const std::size_t cut : {0u, 1u, 5u, 4096u, 65536u, 119999u, 120000u}) {
    const std::uint32_t first = crc32c(bytes.data(), cut);
    EXPECT_EQ(crc32c(bytes.data() + cut, bytes.size() - cut, first), whole);
    const std::uint32_t second = crc32c(bytes.data() + cut, bytes.size() - cut);
    EXPECT_EQ(crc32c_combine(first, second, bytes.size() - cut), whole);
  }
}

}  // namespace
}  // namespace setrl::store
