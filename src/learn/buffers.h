// Large tensors of one device that are used over and over: memory that nobody holds any more is handed out again.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace setrl::learn {

class Buffers {
 public:
  // An uninitialised flat tensor that shares its memory with none that is alive, views included.
  at::Tensor take(std::int64_t count, const at::TensorOptions& options);

 private:
  std::vector<at::Tensor> kept_;
};

}  // namespace setrl::learn
