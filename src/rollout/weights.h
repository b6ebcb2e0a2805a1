// The engine's copy of a policy, or this rank's part of it: fused, packed, in the storage type.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "rollout/packed_matrix.h"
#include "rollout/weight_intake.h"

namespace setrl::rollout {

// H heads, N kv heads, I inner and V vocabulary are this rank's.
struct LayerWeights {
  std::vector<float> input_norm, post_norm;  // [E]
  std::vector<float> qkv_bias;               // [(H + 2 N) D], zero where the family has none
  std::vector<float> q_norm, k_norm;         // [D]; empty where the family has none
  PackedMatrix qkv;                          // rows: q, k, v
  PackedMatrix out;                          // o_proj
  PackedMatrix gate_up;                      // 16 rows of gate, then the same 16 of up, and so on
  PackedMatrix down;
};

class Weights : public WeightIntake {
 public:
  Weights(const model::ModelSpec& spec, bool bf16, const TensorShard& shard);

  const LayerWeights& layer(std::int64_t index) const { return layers_[static_cast<std::size_t>(index)]; }
  const PackedMatrix& embedding() const { return embedding_; }
  const PackedMatrix& head() const { return spec_.tied_embeddings ? embedding_ : head_; }
  const std::vector<float>& final_norm() const { return final_norm_; }

 private:
  void set_vector(std::vector<float>& to, const at::Tensor& tensor, std::int64_t offset);
  void take(const std::string& name, const at::Tensor& part) override;
  void take_of_layer(std::size_t layer, const std::string& name, const at::Tensor& part) override;

  bool bf16_;
  std::vector<LayerWeights> layers_;
  PackedMatrix embedding_, head_;
  std::vector<float> final_norm_;
};

}  // namespace setrl::rollout
