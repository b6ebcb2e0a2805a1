#include "roles/checkpoint_weights.h"

#include <fmt/format.h>

#include <mutex>

#include "store/checkpoint.h"

namespace setrl::roles {

namespace {
// The store's HDF5 library takes one caller at a time.
std::mutex& store_mutex() {
  static std::mutex mutex;
  return mutex;
}
}  // namespace

CheckpointWeights::CheckpointWeights(std::string folder)
    : folder_(std::move(folder)),
      spec_(model::parse_hf_config(store::read_checkpoint_info(folder_).model_config, folder_ + "/index.h5")) {}

void CheckpointWeights::read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const {
  const std::lock_guard lock(store_mutex());
  store::read_tensor(folder_, "parameters/" + name, begin, end, out);
}

std::string CheckpointWeights::describe() const {
  return fmt::format("{}, {:.1f}M parameters, checkpoint", folder_, static_cast<double>(spec_.parameter_count()) / 1e6);
}

}  // namespace setrl::roles
