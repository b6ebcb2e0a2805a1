// Where gpu_ops.cpp puts its work. Exists in builds for GPUs; tests have their own.
#pragma once

#include "learn/gpu_kernels.h"

namespace setrl::learn::gpu {

// LibTorch's current stream on its current device.
Stream current_stream();

}  // namespace setrl::learn::gpu
