// Weights on disk, read slice by slice so that no rank ever needs the whole model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "model/model_spec.h"

namespace setrl::model {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual const ModelSpec& spec() const = 0;
  // Elements [begin, end) of the flattened tensor, as float32. Thread-safe. Throws UserError naming file and tensor
  // where it is missing, has another shape, or the file is cut off.
  virtual void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const = 0;
  // "model/path.gguf, 135M parameters, Q4_1" for the log.
  virtual std::string describe() const = 0;
};

// A Hugging Face folder (single or sharded safetensors, memory-mapped) or a GGUF file.
std::unique_ptr<WeightSource> open_weights(const std::string& path);

// Normal(0, 0.02) weights (norms 1, biases 0) as a pure function of (seed, tensor name, element index).
std::unique_ptr<WeightSource> random_weights(const ModelSpec& spec, std::uint64_t seed);

// The same at the speed of a copy, for benchmarks of large shapes: about a million normal values, repeated over each
// tensor from a place of its own.
std::unique_ptr<WeightSource> repeated_random_weights(const ModelSpec& spec, std::uint64_t seed);

}  // namespace setrl::model
