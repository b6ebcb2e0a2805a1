#include "base/memory.h"

#include <malloc.h>

#include <cstddef>

namespace setrl {

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  // Never trims by itself: the activations of a step would be mapped and cleared again in each micro-batch.
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
}

void release_fragmented_memory() {
  static std::size_t heap_at_last_release = 0;
  const std::size_t heap = mallinfo2().arena;
  if (heap < heap_at_last_release + (std::size_t{1} << 30)) return;
  heap_at_last_release = heap;
  malloc_trim(0);
}

}  // namespace setrl
