#include "model/stored_weights.h"

#include <fmt/ranges.h>

#include <filesystem>

#include "base/error.h"

namespace setrl::model {

void check_against_table(const ModelSpec& spec, const std::unordered_map<std::string, StoredTensor>& stored,
                         const std::string& path) {
  for (const auto& parameter : parameter_table(spec)) {
    const auto found = stored.find(parameter.name);
    if (found == stored.end()) throw_user_error("{}: the tensor '{}' is missing", path, parameter.name);
    if (found->second.shape != parameter.shape) {
      throw_user_error("{}: the tensor '{}' has the shape [{}], the model's configuration asks for [{}]",
                       found->second.file, parameter.name, fmt::join(found->second.shape, ", "),
                       fmt::join(parameter.shape, ", "));
    }
  }
}

const StoredTensor& find_tensor(const std::unordered_map<std::string, StoredTensor>& stored, const std::string& name,
                                std::int64_t begin, std::int64_t end) {
  const auto found = stored.find(name);
  SETRL_CHECK(found != stored.end(), "the model has no tensor '{}'", name);
  std::int64_t elements = 1;
  for (const auto extent : found->second.shape) elements *= extent;
  SETRL_CHECK(0 <= begin && begin <= end && end <= elements, "range {}..{} of '{}', which has {} elements", begin, end,
              name, elements);
  return found->second;
}

std::unique_ptr<WeightSource> open_weights(const std::string& path) {
  namespace fs = std::filesystem;
  if (!fs::exists(path)) throw_user_error("there is no model '{}'", path);
  if (fs::is_directory(path)) return open_safetensors(path);
  if (fs::path(path).extension() == ".gguf") return open_gguf(path);
  throw_user_error("'{}' is neither a Hugging Face folder nor a .gguf file", path);
}

}  // namespace setrl::model
