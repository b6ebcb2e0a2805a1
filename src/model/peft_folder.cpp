#include "model/peft_folder.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/safetensors_writer.h"

namespace setrl::model {

namespace {

namespace fs = std::filesystem;
const std::string kPrefix = "base_model.model.";

}  // namespace

void write_peft_folder(const std::string& folder, const ModelSpec& spec, const LowRankSpec& low_rank,
                       const std::string& base, DType dtype, const ReadSlice& read) {
  if (fs::exists(folder) && !(fs::is_directory(folder) && fs::is_empty(folder))) {
    throw_user_error("'{}' exists already and is not an empty folder; give another one", folder);
  }
  auto table = adapter_table(spec, low_rank);
  for (auto& adapter : table) adapter.name = kPrefix + adapter.name;
  const nlohmann::ordered_json config = {{"peft_type", "LORA"},
                                         {"task_type", "CAUSAL_LM"},
                                         {"base_model_name_or_path", base},
                                         {"r", low_rank.rank},
                                         {"lora_alpha", low_rank.alpha},
                                         {"lora_dropout", 0.0},
                                         {"target_modules", low_rank.targets},
                                         {"bias", "none"},
                                         {"fan_in_fan_out", false},
                                         {"inference_mode", true}};
  const fs::path temporary = folder + ".tmp";
  std::error_code ignored;
  fs::remove_all(temporary, ignored);
  fs::create_directories(temporary);
  try {
    write_text(temporary / "adapter_config.json", config.dump(2) + "\n");
    write_safetensors(temporary / "adapter_model.safetensors", table, dtype,
                      [&](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
                        read(name.substr(kPrefix.size()), begin, end, out);
                      });
    fs::remove(folder, ignored);  // an empty folder makes room for the rename
    fs::rename(temporary, folder);
  } catch (...) {
    fs::remove_all(temporary, ignored);
    throw;
  }
}

}  // namespace setrl::model
