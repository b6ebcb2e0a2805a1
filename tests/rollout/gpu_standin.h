// The engine on GPUs without one: its kernels compiled for the host, over a runtime of host memory (gpu_standin.cpp). A
// "graph" is a function that is called again: it sees the arguments of the time it was recorded, as a real one does.
#pragma once

#include <cuda_standin.h>
#include <gtest/gtest.h>

#include <memory>

#include "rollout/gpu_runtime.h"

namespace setrl::rollout::test {

struct StandinCounts {
  int recorded = 0, replayed = 0;
};
StandinCounts& standin_counts();  // since the program began

// Tests that run the threads of each block in both orders.
class GpuStandin : public ::testing::TestWithParam<cuda_standin::Order> {
 protected:
  GpuStandin() { cuda_standin::set_order(GetParam()); }
  ~GpuStandin() override { cuda_standin::set_order(cuda_standin::Order::forward); }
  const std::unique_ptr<gpu::Runtime> runtime_ = gpu::make_runtime(at::Device(at::kCUDA, 0), false);
};

inline auto both_orders() {
  return ::testing::Values(cuda_standin::Order::forward, cuda_standin::Order::backward);
}
inline std::string order_name(const ::testing::TestParamInfo<cuda_standin::Order>& test) {
  return test.param == cuda_standin::Order::forward ? "forward" : "backward";
}

}  // namespace setrl::rollout::test
