#include "model/hf_folder.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/safetensors_writer.h"

namespace setrl::model {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Parameters in table order, a new shard where the next one would exceed the limit.
std::vector<std::vector<ParameterSpec>> split_into_shards(const ModelSpec& spec, DType dtype, std::int64_t limit) {
  std::vector<std::vector<ParameterSpec>> shards(1);
  std::int64_t filled = 0;
  for (const auto& parameter : parameter_table(spec)) {
    const std::int64_t bytes = parameter.elements() * static_cast<std::int64_t>(size_of(dtype));
    if (filled > 0 && filled + bytes > limit) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(parameter);
    filled += bytes;
  }
  return shards;
}

void write_weights(const fs::path& folder, const ModelSpec& spec, DType dtype, const ReadSlice& read,
                   std::int64_t limit) {
  const auto shards = split_into_shards(spec, dtype, limit);
  if (shards.size() == 1) {
    write_safetensors(folder / "model.safetensors", shards[0], dtype, read);
    return;
  }
  Json index = {{"metadata", {{"total_size", spec.parameter_count() * static_cast<std::int64_t>(size_of(dtype))}}},
                {"weight_map", Json::object()}};
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(folder / name, shards[i], dtype, read);
    for (const auto& parameter : shards[i]) index["weight_map"][parameter.name] = name;
  }
  write_text(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace

void write_hf_folder(const std::string& folder, const ModelSpec& spec, DType dtype, const ReadSlice& read,
                     const std::vector<std::pair<std::string, std::string>>& extra_files,
                     const std::vector<std::int32_t>& eos_ids, std::int64_t shard_bytes) {
  if (fs::exists(folder) && !(fs::is_directory(folder) && fs::is_empty(folder))) {
    throw_user_error("'{}' exists already and is not an empty folder; give another one", folder);
  }
  const fs::path temporary = fs::path(folder).lexically_normal().string() + ".tmp";
  std::error_code failure;
  fs::remove_all(temporary, failure);
  if (!fs::create_directories(temporary, failure)) {
    throw_user_error("cannot make the folder '{}': {}", temporary.string(), failure.message());
  }
  try {
    const std::string torch_dtype = dtype == DType::float32    ? "float32"
                                    : dtype == DType::bfloat16 ? "bfloat16"
                                                               : "float16";
    write_text(temporary / "config.json", to_hf_config(spec, torch_dtype));
    Json generation = {{"do_sample", true}, {"eos_token_id", eos_ids}};
    if (spec.bos_id >= 0) generation["bos_token_id"] = spec.bos_id;
    if (!eos_ids.empty()) generation["pad_token_id"] = eos_ids.back();
    write_text(temporary / "generation_config.json", generation.dump(2) + "\n");
    for (const auto& [name, content] : extra_files) write_text(temporary / name, content);
    write_weights(temporary, spec, dtype, read, shard_bytes);
    fs::remove(folder);  // an empty folder makes room for the rename
    fs::rename(temporary, folder);
  } catch (...) {
    fs::remove_all(temporary, failure);
    throw;
  }
}

}  // namespace setrl::model
