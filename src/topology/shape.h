// What the arithmetic of a plan needs of a model: sizes, no weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl::topology {

struct ModelShape {
  std::string name;
  std::int64_t vocabulary = 0, hidden = 0, inner = 0, layers = 0, heads = 0, kv_heads = 0, head_size = 0;
  bool tied_embeddings = false, qkv_bias = false, qk_norm = false;

  // Elements of the three kinds of FSDP unit: embedding; one block; final norm with the head, where not tied.
  std::int64_t embedding_elements() const { return vocabulary * hidden; }
  std::int64_t block_elements() const;
  std::int64_t last_elements() const { return hidden + (tied_embeddings ? 0 : vocabulary * hidden); }
  std::int64_t parameters() const { return embedding_elements() + layers * block_elements() + last_elements(); }
  // Keys and values of one token position in all layers.
  std::int64_t kv_elements() const { return 2 * layers * kv_heads * head_size; }
  // Whether `parts` ranks can hold the model together.
  bool divides_by(int parts) const {
    return heads % parts == 0 && kv_heads % parts == 0 && inner % parts == 0 && vocabulary % parts == 0;
  }
  // Of q, k and v together.
  std::int64_t qkv_width() const { return (heads + 2 * kv_heads) * head_size; }
};

// The built-in shapes, smallest first.
const std::vector<ModelShape>& known_shapes();

// Throws UserError that names the option and lists the names.
const ModelShape& known_shape(const std::string& name, const std::string& option = "plan.model");

}  // namespace setrl::topology
