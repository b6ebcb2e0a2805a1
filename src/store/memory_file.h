// A sparse file in memory.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "store/durable_file.h"

namespace setrl::store {

class MemoryFile {
 public:
  void write(std::uint64_t offset, const void* data, std::size_t size);
  // Bytes that were never written, beyond the end too, are zero.
  void read(std::uint64_t offset, void* data, std::size_t size) const;
  std::uint64_t size() const { return size_; }
  void resize(std::uint64_t bytes) { size_ = bytes; }
  Bytes bytes() const;  // the whole file

 private:
  static constexpr std::uint64_t kPage = 4096;
  std::unordered_map<std::uint64_t, std::array<std::uint8_t, kPage>> pages_;
  std::uint64_t size_ = 0;
};

}  // namespace setrl::store
