// The packed layout that all matrix kernels read, for weights and for KV pages alike.
// A matrix B [N, K] (out = a * B^T) is cut into panels of 16 columns n. Inside a panel the values of one depth k
// (float32) or of one pair of depths (bfloat16, as vdpbf16ps and AMX tiles want them) lie together:
//   float32   panel[n / 16][k][n % 16]
//   bfloat16  panel[n / 16][k / 2][n % 16][k % 2]
#pragma once

#include <cstdint>
#include <cstring>

namespace setrl::rollout {

inline constexpr std::int64_t kPanelColumns = 16;
inline constexpr std::int64_t kTileColumns = 32;  // a kernel call makes two panels' columns
inline constexpr std::int64_t kPageTokens = 32;   // tokens of one KV page

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

struct PanelLayout {
  bool bf16 = false;
  std::int64_t depth = 0;  // K; odd depths of bfloat16 are padded with a zero

  std::int64_t element_bytes() const { return bf16 ? 2 : 4; }
  std::int64_t panel_elements() const { return (bf16 ? round_up(depth, 2) : depth) * kPanelColumns; }
  std::int64_t panel_bytes() const { return panel_elements() * element_bytes(); }
  // Index of element (n, k), in elements from the first panel.
  std::int64_t index(std::int64_t n, std::int64_t k) const {
    const std::int64_t panel = n / kPanelColumns * panel_elements(), lane = n % kPanelColumns;
    return bf16 ? panel + (k / 2 * kPanelColumns + lane) * 2 + k % 2 : panel + k * kPanelColumns + lane;
  }
};

// Round to nearest even; NaN stays NaN.
inline std::uint16_t to_bf16_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float from_bf16_bits(std::uint16_t half) {
  const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace setrl::rollout
