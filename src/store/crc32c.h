// CRC-32C (Castagnoli; RFC 3720 appendix B.4: polynomial 0x1EDC6F41, reflected, initial value and final xor
// 0xFFFFFFFF). The one checksum of the store: any crc32c tool can recompute it. Of "123456789" it is 0xE3069283.
#pragma once

#include <cstddef>
#include <cstdint>

namespace setrl::store {

// CRC-32C of `size` bytes that follow bytes with the checksum `before`. Uses SSE 4.2 where the CPU has it.
std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t before = 0);

// CRC-32C of A followed by B, from crc32c(A), crc32c(B) and the size of B in bytes.
std::uint32_t crc32c_combine(std::uint32_t first, std::uint32_t second, std::uint64_t second_size);

// The same value without special instructions; for the tests and other CPUs.
std::uint32_t crc32c_portable(const void* data, std::size_t size, std::uint32_t before = 0);

}  // namespace setrl::store
