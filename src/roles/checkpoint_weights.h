// The parameters of a checkpoint as a source of weights.
#pragma once

#include <string>

#include "model/weight_source.h"
#include "store/checkpoint.h"

namespace setrl::roles {

class CheckpointWeights : public model::WeightSource {
 public:
  // Throws UserError where the folder is no whole checkpoint.
  explicit CheckpointWeights(std::string folder);

  const model::ModelSpec& spec() const override { return spec_; }
  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override;
  std::string describe() const override;

 private:
  std::string folder_;
  store::CheckpointReader reader_;
  model::ModelSpec spec_;
};

}  // namespace setrl::roles
