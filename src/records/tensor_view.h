// What `store` and `sync` see of a model: a named logical tensor and this rank's flat slice of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl {

enum class DType : std::uint8_t { float32 = 0, bfloat16 = 1, float16 = 2 };

inline std::size_t size_of(DType type) {
  return type == DType::float32 ? 4 : 2;
}

// Borrows its memory: valid while the owner (the learner) keeps the shard alive and unchanged.
struct TensorView {
  std::string name;                 // such as "parameters/model.layers.0.mlp.up_proj.weight"
  std::vector<std::int64_t> shape;  // logical shape of the whole tensor, row-major
  DType dtype = DType::float32;
  std::int64_t begin = 0;  // this rank's slice: elements [begin, end) of the flattened tensor; may be empty
  std::int64_t end = 0;
  void* data = nullptr;  // (end - begin) elements

  std::int64_t elements() const {
    std::int64_t count = 1;
    for (const auto extent : shape) count *= extent;
    return count;
  }
};

}  // namespace setrl
