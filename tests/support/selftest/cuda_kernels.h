// Kernels that show whether the stand-in for a GPU keeps its promises.
#pragma once

#include <cuda_standin.h>

namespace setrl::selftest {

// out[b] = sum of row b of x [blocks, width]; threads: whole warps.
void row_sums(const float* x, int blocks, int width, int threads, float* out);
// out[i] = x[n - 1 - i] through shared memory, with or without the barrier it needs.
void reverse(const float* x, int n, bool barrier, float* out);
// Half of the threads wait at a barrier that the other half never reaches.
void diverge();
// out[i] = bfloat16 of x[i] as float.
void round_trip(const float* x, int n, float* out);

}  // namespace setrl::selftest
