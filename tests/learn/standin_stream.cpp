// Kernels of the stand-in for a GPU run where they are started.
#include "learn/gpu_stream.h"

namespace setrl::learn::gpu {

Stream current_stream() {
  return nullptr;
}

}  // namespace setrl::learn::gpu
