// The engine's copy of a policy, or this rank's part of it, in the memory of a GPU.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "rollout/gpu_runtime.h"
#include "rollout/weight_intake.h"

namespace setrl::rollout::gpu {

// H heads, N kv heads, I inner and V vocabulary are this rank's. Vectors are float32 (rounded to the storage type like
// the matrices), matrices of the storage type; undefined where the family has none.
struct GpuLayerWeights {
  at::Tensor input_norm, post_norm;  // [E]
  at::Tensor qkv_bias;               // [(H + 2 N) D]
  at::Tensor q_norm, k_norm;         // [D]
  at::Tensor qkv;                    // [(H + 2 N) D, E]: q, k, v
  at::Tensor out;                    // [E, H D]
  at::Tensor gate_up;                // [2 I, E]: gate, then up
  at::Tensor down;                   // [E, I]
};

// Takes all memory at once. Tensors may come from the host or from any device.
class GpuWeights : public WeightIntake {
 public:
  GpuWeights(const model::ModelSpec& spec, bool bf16, const TensorShard& shard, at::Device device);

  const GpuLayerWeights& layer(std::int64_t index) const { return layers_[static_cast<std::size_t>(index)]; }
  const at::Tensor& embedding() const { return embedding_; }  // [V, E]
  const at::Tensor& head() const { return spec().tied_embeddings ? embedding_ : head_; }
  const at::Tensor& final_norm() const { return final_norm_; }

 private:
  void take(const std::string& name, const at::Tensor& part) override;
  void take_of_layer(std::size_t layer, const std::string& name, const at::Tensor& part) override;
  void set_vector(const at::Tensor& to, const at::Tensor& values) const;

  at::ScalarType storage_;
  std::vector<GpuLayerWeights> layers_;
  at::Tensor embedding_, head_, final_norm_;
};

}  // namespace setrl::rollout::gpu
