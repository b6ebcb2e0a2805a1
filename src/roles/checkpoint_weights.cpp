#include "roles/checkpoint_weights.h"

#include <fmt/format.h>

namespace setrl::roles {

CheckpointWeights::CheckpointWeights(std::string folder)
    : folder_(std::move(folder)),
      reader_(folder_),
      spec_(model::parse_hf_config(reader_.info().model_config, folder_ + "/index.h5")) {}

void CheckpointWeights::read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const {
  reader_.read("parameters/" + name, begin, end, out);
}

std::string CheckpointWeights::describe() const {
  return fmt::format("{}, {:.1f}M parameters, checkpoint", folder_, static_cast<double>(spec_.parameter_count()) / 1e6);
}

}  // namespace setrl::roles
