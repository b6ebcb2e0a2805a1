#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "commands/commands.h"
#include "model/hf_folder.h"
#include "model/peft_folder.h"
#include "roles/policy.h"

namespace setrl::commands {

int export_model(const RunConfig& config) {
  const std::string& output = config.export_.output;
  if (output.empty()) throw_user_error("give the folder to write: --output=DIR");
  const roles::Policy policy = roles::open_policy(config);
  const DType dtype = config.export_.dtype == "float32"    ? DType::float32
                      : config.export_.dtype == "bfloat16" ? DType::bfloat16
                                                           : DType::float16;
  const auto& weights = *policy.weights;
  if (config.export_.format == "peft") {
    if (!policy.adapters) {
      throw_user_error("export.format: '{}' holds no adapters (it was not trained with learn.lora_rank)",
                       config.model.path);
    }
    const auto& adapters = *policy.adapters;
    model::write_peft_folder(output, weights.spec(), adapters.low_rank, adapters.base, dtype,
                             [&](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
                               const auto& values = adapters.tensors.at(name);
                               std::copy(values.begin() + begin, values.begin() + end, out);
                             });
    fmt::print("adapters of rank {} from {} -> {}\n", adapters.low_rank.rank, config.model.path, output);
    return kExitDone;
  }
  model::write_hf_folder(
      output, weights.spec(), dtype,
      [&](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
        weights.read(name, begin, end, out);
      },
      roles::policy_files(policy), policy.stop_ids, config.export_.shard_bytes);
  fmt::print("{} -> {} ({})\n", weights.describe(), output, config.export_.dtype);
  return kExitDone;
}

}  // namespace setrl::commands
