#include "rollout/memory_block.h"

#include <sys/mman.h>

#include "base/error.h"

namespace setrl::rollout {

MemoryBlock::MemoryBlock(std::int64_t bytes) {
  if (bytes <= 0) return;
  void* base =
      mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    throw_user_error("no memory for {} MiB of the rollout engine: lower rollout's batch or the completion length",
                     bytes >> 20);
  }
  // A hint only: fewer address translations while gigabytes of weights stream by.
  madvise(base, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  base_ = static_cast<char*>(base);
  bytes_ = bytes;
}

MemoryBlock::~MemoryBlock() {
  if (base_ != nullptr) munmap(base_, static_cast<std::size_t>(bytes_));
}

}  // namespace setrl::rollout
