// Zeroed memory in large pages where the system gives them. Move-only; frees on destruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace setrl::rollout {

class MemoryBlock {
 public:
  MemoryBlock() = default;
  // Starts on a 64-byte border. Throws UserError where the system has not that much.
  explicit MemoryBlock(std::int64_t bytes);
  ~MemoryBlock();
  MemoryBlock(MemoryBlock&& other) noexcept { *this = std::move(other); }
  MemoryBlock& operator=(MemoryBlock&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  char* data() const { return base_; }
  float* floats() const { return reinterpret_cast<float*>(base_); }
  std::int64_t bytes() const { return bytes_; }
  // Grows to at least `bytes` (and at least twofold); the content is lost (zero) where it grew.
  void reserve(std::int64_t bytes) {
    if (bytes > bytes_) *this = MemoryBlock(bytes > 2 * bytes_ ? bytes : 2 * bytes_);
  }

 private:
  char* base_ = nullptr;
  std::int64_t bytes_ = 0;
};

}  // namespace setrl::rollout
