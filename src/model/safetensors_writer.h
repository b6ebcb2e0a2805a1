// Files that are complete on disk when the function returns (fsync); a failed write is a UserError that names the file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/hf_folder.h"
#include "model/model_spec.h"

namespace setrl::model {

void write_text(const std::filesystem::path& path, const std::string& text);

// The named tensors in this order, read slice by slice. Format: safetensors.cpp.
void write_safetensors(const std::filesystem::path& path, const std::vector<ParameterSpec>& parameters, DType dtype,
                       const ReadSlice& read);

}  // namespace setrl::model
