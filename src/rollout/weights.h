// The engine's copy of a policy, or this rank's part of it: fused, packed, in the storage type.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/model_spec.h"
#include "rollout/packed_matrix.h"
#include "rollout/tensor_shard.h"

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

class Weights {
 public:
  Weights(const model::ModelSpec& spec, bool bf16, const TensorShard& shard);

  void begin_update();
  // Rounds to the storage type and packs at once: this rank's part of a whole tensor, or that part as it is
  // (model::part_shape). Both throw BugError on an unknown name or a wrong shape.
  void update(const std::string& name, const at::Tensor& whole);
  void update_part(const std::string& name, const at::Tensor& part);
  void end_update();  // throws BugError naming a parameter that never came

  bool ready() const { return ready_; }
  const model::ModelSpec& spec() const { return spec_; }    // of the whole model
  const model::ModelSpec& local() const { return local_; }  // of what is here
  const TensorShard& shard() const { return shard_; }
  const LayerWeights& layer(std::int64_t index) const { return layers_[static_cast<std::size_t>(index)]; }
  const PackedMatrix& embedding() const { return embedding_; }
  const PackedMatrix& head() const { return spec_.tied_embeddings ? embedding_ : head_; }
  const std::vector<float>& final_norm() const { return final_norm_; }

 private:
  void set_vector(std::vector<float>& to, const at::Tensor& tensor, std::int64_t offset);
  const model::ParameterSpec& parameter(const std::string& name) const;
  void take(const std::string& name, const at::Tensor& part);
  void update_layer(LayerWeights& layer, const std::string& part, const at::Tensor& tensor);

  const model::ModelSpec spec_, local_;
  const TensorShard shard_;
  bool bf16_, ready_ = false;
  std::vector<LayerWeights> layers_;
  PackedMatrix embedding_, head_;
  std::vector<float> final_norm_;
  std::unordered_map<std::string, model::ParameterSpec> parameters_;
  std::unordered_set<std::string> missing_;
};

}  // namespace setrl::rollout
