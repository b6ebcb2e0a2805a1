// Writes low-rank adapters as PEFT does: adapter_config.json and adapter_model.safetensors, for
// peft.PeftModel.from_pretrained(base, folder).
#pragma once

#include <string>

#include "model/hf_folder.h"
#include "model/low_rank.h"

namespace setrl::model {

// `base` goes into the configuration as the model that the adapters belong to. `read` is asked for the names of
// adapter_table. Refuses an existing non-empty `folder` (UserError).
void write_peft_folder(const std::string& folder, const ModelSpec& spec, const LowRankSpec& low_rank,
                       const std::string& base, DType dtype, const ReadSlice& read);

}  // namespace setrl::model
