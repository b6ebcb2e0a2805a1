// Writes a Hugging Face folder that transformers loads: config.json, generation_config.json, safetensors (sharded above
// 5 GB, with an index).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "model/model_spec.h"
#include "records/tensor_view.h"

namespace setrl::model {

// Fills out[0 .. end-begin) with float32 elements of the named tensor; called in order of names and offsets.
using ReadSlice = std::function<void(const std::string& name, std::int64_t begin, std::int64_t end, float* out)>;

// Published by a temporary folder and rename; refuses an existing non-empty `folder` (UserError). Tokenizer files are
// the caller's part: name -> content.
void write_hf_folder(const std::string& folder, const ModelSpec& spec, DType dtype, const ReadSlice& read,
                     const std::vector<std::pair<std::string, std::string>>& extra_files,
                     const std::vector<std::int32_t>& eos_ids, std::int64_t shard_bytes = 5'000'000'000);

}  // namespace setrl::model
