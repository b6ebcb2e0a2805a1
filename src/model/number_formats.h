// Stored numbers -> float32: half, bfloat16 and the block formats of GGUF (ggml's block layouts).
#pragma once

#include <cstdint>
#include <string>

namespace setrl::model {

float half_to_float(std::uint16_t bits);
std::uint16_t float_to_half(float value);  // round to nearest even, overflow to infinity
float bfloat16_to_float(std::uint16_t bits);
std::uint16_t float_to_bfloat16(float value);  // round to nearest even

// One storage format: `elements` values in `bytes` bytes. Plain formats are blocks of one.
struct BlockFormat {
  const char* name;
  std::int64_t elements;
  std::int64_t bytes;
  void (*decode)(const std::uint8_t* block, float* out);  // fills out[0 .. elements)
};

// By GGUF type number; null where it is not supported.
const BlockFormat* gguf_format(std::uint32_t type);

// Plain formats by safetensors name (F32, F16, BF16); null for others.
const BlockFormat* safetensors_format(const std::string& name);

// Elements [begin, end) of consecutive blocks at `data`.
void decode_range(const BlockFormat& format, const std::uint8_t* data, std::int64_t begin, std::int64_t end,
                  float* out);

}  // namespace setrl::model
