#include "model/number_formats.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace setrl::model {

namespace {

template <typename T>
T load(const std::uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

float load_half(const std::uint8_t* from) {
  return half_to_float(load<std::uint16_t>(from));
}

void decode_f32(const std::uint8_t* block, float* out) {
  *out = load<float>(block);
}
void decode_f16(const std::uint8_t* block, float* out) {
  *out = load_half(block);
}
void decode_bf16(const std::uint8_t* block, float* out) {
  *out = bfloat16_to_float(load<std::uint16_t>(block));
}

// The 32-value formats keep value j in the low nibble of byte j and value j + 16 in the high one.
void decode_q4_0(const std::uint8_t* block, float* out) {
  const float scale = load_half(block);
  const std::uint8_t* q = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>((q[j] & 15) - 8);
    out[j + 16] = scale * static_cast<float>((q[j] >> 4) - 8);
  }
}

void decode_q4_1(const std::uint8_t* block, float* out) {
  const float scale = load_half(block), low = load_half(block + 2);
  const std::uint8_t* q = block + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>(q[j] & 15) + low;
    out[j + 16] = scale * static_cast<float>(q[j] >> 4) + low;
  }
}

// The fifth bits are gathered in a 32-bit word: bit j belongs to value j.
int fifth_bit(std::uint32_t bits, int j) {
  return static_cast<int>((bits >> j) & 1) << 4;
}

void decode_q5_0(const std::uint8_t* block, float* out) {
  const float scale = load_half(block);
  const auto high = load<std::uint32_t>(block + 2);
  const std::uint8_t* q = block + 6;
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>(((q[j] & 15) | fifth_bit(high, j)) - 16);
    out[j + 16] = scale * static_cast<float>(((q[j] >> 4) | fifth_bit(high, j + 16)) - 16);
  }
}

void decode_q5_1(const std::uint8_t* block, float* out) {
  const float scale = load_half(block), low = load_half(block + 2);
  const auto high = load<std::uint32_t>(block + 4);
  const std::uint8_t* q = block + 8;
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>((q[j] & 15) | fifth_bit(high, j)) + low;
    out[j + 16] = scale * static_cast<float>((q[j] >> 4) | fifth_bit(high, j + 16)) + low;
  }
}

void decode_q8_0(const std::uint8_t* block, float* out) {
  const float scale = load_half(block);
  for (int j = 0; j < 32; ++j) out[j] = scale * static_cast<float>(static_cast<std::int8_t>(block[2 + j]));
}

// 256 values in 8 sub-blocks of 32; each sub-block has a 6-bit scale and a 6-bit minimum, packed in 12 bytes.
void decode_q4_k(const std::uint8_t* block, float* out) {
  const float scale = load_half(block), low = load_half(block + 2);
  const std::uint8_t* packed = block + 4;
  const std::uint8_t* q = block + 16;
  for (int sub = 0; sub < 8; ++sub) {
    int s = 0, m = 0;
    if (sub < 4) {
      s = packed[sub] & 63;
      m = packed[sub + 4] & 63;
    } else {
      s = (packed[sub + 4] & 15) | ((packed[sub - 4] >> 6) << 4);
      m = (packed[sub + 4] >> 4) | ((packed[sub] >> 6) << 4);
    }
    const float step = scale * static_cast<float>(s), minimum = low * static_cast<float>(m);
    const std::uint8_t* pair = q + (sub / 2) * 32;
    for (int j = 0; j < 32; ++j) {
      const int nibble = sub % 2 == 0 ? pair[j] & 15 : pair[j] >> 4;
      out[sub * 32 + j] = step * static_cast<float>(nibble) - minimum;
    }
  }
}

// 256 values of 6 bits: 4 low bits, 2 high bits, an 8-bit scale for each 16.
void decode_q6_k(const std::uint8_t* block, float* out) {
  const float scale = load_half(block + 208);
  for (int part = 0; part < 2; ++part) {
    const std::uint8_t* low = block + part * 64;
    const std::uint8_t* high = block + 128 + part * 32;
    const auto* scales = reinterpret_cast<const std::int8_t*>(block + 192 + part * 8);
    for (int j = 0; j < 32; ++j) {
      const int values[4] = {(low[j] & 15) | ((high[j] & 3) << 4), (low[j + 32] & 15) | (((high[j] >> 2) & 3) << 4),
                             (low[j] >> 4) | (((high[j] >> 4) & 3) << 4), (low[j + 32] >> 4) | ((high[j] >> 6) << 4)};
      for (int quarter = 0; quarter < 4; ++quarter) {
        out[part * 128 + quarter * 32 + j] =
            scale * static_cast<float>(scales[quarter * 2 + j / 16]) * static_cast<float>(values[quarter] - 32);
      }
    }
  }
}

constexpr BlockFormat kF32{"F32", 1, 4, decode_f32};
constexpr BlockFormat kF16{"F16", 1, 2, decode_f16};
constexpr BlockFormat kBF16{"BF16", 1, 2, decode_bf16};
constexpr BlockFormat kQ4_0{"Q4_0", 32, 18, decode_q4_0};
constexpr BlockFormat kQ4_1{"Q4_1", 32, 20, decode_q4_1};
constexpr BlockFormat kQ5_0{"Q5_0", 32, 22, decode_q5_0};
constexpr BlockFormat kQ5_1{"Q5_1", 32, 24, decode_q5_1};
constexpr BlockFormat kQ8_0{"Q8_0", 32, 34, decode_q8_0};
constexpr BlockFormat kQ4_K{"Q4_K", 256, 144, decode_q4_k};
constexpr BlockFormat kQ6_K{"Q6_K", 256, 210, decode_q6_k};
constexpr std::int64_t kLargestBlock = 256;

}  // namespace

float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = sign | ((exponent == 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

std::uint16_t float_to_half(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7e00u);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x1p-14f) {
    // Subnormal: a multiple of 2^-24; nearbyint rounds to nearest even.
    return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(std::nearbyint(magnitude * 0x1p24f)));
  }
  const std::uint32_t rounded = (bits & 0x7fffffffu) + 0xfffu + ((bits >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

float bfloat16_to_float(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

std::uint16_t float_to_bfloat16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

const BlockFormat* gguf_format(std::uint32_t type) {
  switch (type) {
    case 0: return &kF32;
    case 1: return &kF16;
    case 2: return &kQ4_0;
    case 3: return &kQ4_1;
    case 6: return &kQ5_0;
    case 7: return &kQ5_1;
    case 8: return &kQ8_0;
    case 12: return &kQ4_K;
    case 14: return &kQ6_K;
    case 30: return &kBF16;
    default: return nullptr;
  }
}

const BlockFormat* safetensors_format(const std::string& name) {
  if (name == "F32") return &kF32;
  if (name == "F16") return &kF16;
  if (name == "BF16") return &kBF16;
  return nullptr;
}

void decode_range(const BlockFormat& format, const std::uint8_t* data, std::int64_t begin, std::int64_t end,
                  float* out) {
  if (format.decode == decode_f32) {
    std::memcpy(out, data + begin * 4, static_cast<std::size_t>(end - begin) * 4);
    return;
  }
  float buffer[kLargestBlock];
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t block = at / format.elements, offset = at % format.elements;
    const std::int64_t count = std::min(format.elements - offset, end - at);
    const std::uint8_t* from = data + block * format.bytes;
    if (count == format.elements) {
      format.decode(from, out + (at - begin));
    } else {
      format.decode(from, buffer);
      std::copy_n(buffer + offset, count, out + (at - begin));
    }
    at += count;
  }
}

}  // namespace setrl::model
