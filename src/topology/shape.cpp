#include "topology/shape.h"

#include "base/error.h"

namespace setrl::topology {

std::int64_t ModelShape::block_elements() const {
  std::int64_t count = qkv_width() * hidden + hidden * heads * head_size + 3 * hidden * inner + 2 * hidden;
  if (qkv_bias) count += qkv_width();
  if (qk_norm) count += 2 * head_size;
  return count;
}

const std::vector<ModelShape>& known_shapes() {
  // As the models' config.json files say.
  static const std::vector<ModelShape> shapes = {
      {"smollm2-135m", 49152, 576, 1536, 30, 9, 3, 64, true, false, false},
      {"qwen2.5-1.5b", 151936, 1536, 8960, 28, 12, 2, 128, true, true, false},
      {"llama3-8b", 128256, 4096, 14336, 32, 32, 8, 128, false, false, false},
      {"qwen3-8b", 151936, 4096, 12288, 36, 32, 8, 128, false, false, true},
      {"llama3-70b", 128256, 8192, 28672, 80, 64, 8, 128, false, false, false},
      {"qwen2.5-72b", 152064, 8192, 29568, 80, 64, 8, 128, false, true, false},
  };
  return shapes;
}

const ModelShape& known_shape(const std::string& name, const std::string& option) {
  std::string names;
  for (const auto& shape : known_shapes()) {
    if (shape.name == name) return shape;
    names += (names.empty() ? "" : ", ") + shape.name;
  }
  throw_user_error("{}: there is no built-in shape '{}'; there are {}; without this option it is that of model.path",
                   option, name, names);
}

}  // namespace setrl::topology
