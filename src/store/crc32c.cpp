#include "store/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace setrl::store {

namespace {

// Polynomials over GF(2) modulo the CRC's polynomial, bit 31 the constant term ("reflected").
constexpr std::uint32_t kPolynomial = 0x82F63B78;
constexpr std::uint32_t kOne = 0x80000000;
constexpr std::uint32_t kXToThe8 = 0x00800000;

std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (int bit = 31; bit >= 0; --bit) {
    if ((a >> bit) & 1u) product ^= b;
    b = (b >> 1) ^ ((b & 1u) ? kPolynomial : 0u);  // times x
  }
  return product;
}

// x^(8 * bytes): multiplying a CRC by it appends that many zero bytes.
std::uint32_t shift_operator(std::uint64_t bytes) {
  std::uint32_t result = kOne;
  for (std::uint32_t power = kXToThe8; bytes != 0; bytes >>= 1) {
    if (bytes & 1u) result = multiply(result, power);
    power = multiply(power, power);
  }
  return result;
}

// Slicing by 8: table[k][b] is the effect of byte b followed by k zero bytes.
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

Tables make_tables() {
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1u) ? kPolynomial : 0u);
    tables[0][byte] = value;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t value = tables[k - 1][byte];
      tables[k][byte] = (value >> 8) ^ tables[0][value & 0xFFu];
    }
  }
  return tables;
}

std::uint32_t fold_portable(std::uint32_t state, const std::uint8_t* data, std::size_t size) {
  static const Tables tables = make_tables();
  for (; size >= 8; size -= 8, data += 8) {
    std::uint32_t low = 0, high = 0;
    std::memcpy(&low, data, 4);
    std::memcpy(&high, data + 4, 4);
    low ^= state;
    state = tables[7][low & 0xFFu] ^ tables[6][(low >> 8) & 0xFFu] ^ tables[5][(low >> 16) & 0xFFu] ^
            tables[4][low >> 24] ^ tables[3][high & 0xFFu] ^ tables[2][(high >> 8) & 0xFFu] ^
            tables[1][(high >> 16) & 0xFFu] ^ tables[0][high >> 24];
  }
  for (; size != 0; --size, ++data) state = (state >> 8) ^ tables[0][(state ^ *data) & 0xFFu];
  return state;
}

#if defined(__x86_64__)
std::uint64_t load64(const std::uint8_t* data) {
  std::uint64_t value = 0;
  std::memcpy(&value, data, 8);
  return value;
}

// The crc32 instruction has three cycles of latency and one of throughput: three lanes keep it busy.
__attribute__((target("sse4.2"))) std::uint32_t fold_sse42(std::uint32_t state, const std::uint8_t* data,
                                                           std::size_t size) {
  constexpr std::size_t kLane = 16384;
  static const std::uint32_t one_lane = shift_operator(kLane);
  static const std::uint32_t two_lanes = shift_operator(2 * kLane);
  for (; size >= 3 * kLane; size -= 3 * kLane, data += 3 * kLane) {
    std::uint64_t a = state, b = 0, c = 0;
    for (std::size_t i = 0; i < kLane; i += 8) {
      a = _mm_crc32_u64(a, load64(data + i));
      b = _mm_crc32_u64(b, load64(data + kLane + i));
      c = _mm_crc32_u64(c, load64(data + 2 * kLane + i));
    }
    state = multiply(static_cast<std::uint32_t>(a), two_lanes) ^ multiply(static_cast<std::uint32_t>(b), one_lane) ^
            static_cast<std::uint32_t>(c);
  }
  std::uint64_t wide = state;
  for (; size >= 8; size -= 8, data += 8) wide = _mm_crc32_u64(wide, load64(data));
  state = static_cast<std::uint32_t>(wide);
  for (; size != 0; --size, ++data) state = _mm_crc32_u8(state, *data);
  return state;
}

bool has_sse42() {
  static const bool answer = __builtin_cpu_supports("sse4.2");
  return answer;
}
#endif

}  // namespace

std::uint32_t crc32c_portable(const void* data, std::size_t size, std::uint32_t before) {
  return ~fold_portable(~before, static_cast<const std::uint8_t*>(data), size);
}

std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t before) {
#if defined(__x86_64__)
  if (has_sse42()) return ~fold_sse42(~before, static_cast<const std::uint8_t*>(data), size);
#endif
  return crc32c_portable(data, size, before);
}

std::uint32_t crc32c_combine(std::uint32_t first, std::uint32_t second, std::uint64_t second_size) {
  return multiply(first, shift_operator(second_size)) ^ second;
}

}  // namespace setrl::store
