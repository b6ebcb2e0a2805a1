// How the process holds on to freed memory. glibc's allocator; for the whole process.
#pragma once

namespace setrl {

// Tensors come and go with every block: freed memory stays with the process instead of being mapped and cleared again
// each time. Once, at the start.
void keep_freed_memory();

// After a step: where freed memory has fragmented, so that the heap has grown by a gigabyte since the last time, gives
// its pages back to the system. Bounds what keep_freed_memory holds.
void release_fragmented_memory();

}  // namespace setrl
