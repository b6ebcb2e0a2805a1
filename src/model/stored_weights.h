// Weight sources of this module's file formats, and what they share.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "model/mapped_file.h"
#include "model/number_formats.h"
#include "model/weight_source.h"

namespace setrl::model {

std::unique_ptr<WeightSource> open_safetensors(const std::string& folder);
std::unique_ptr<WeightSource> open_gguf(const std::string& path);

// Where one tensor lies in a mapped file.
struct StoredTensor {
  std::vector<std::int64_t> shape;
  const BlockFormat* format = nullptr;
  const std::uint8_t* data = nullptr;
  std::string file;
};

// Checks that every parameter of the table is there with its shape; throws UserError naming file and tensor.
// `stored` maps Hugging Face names.
void check_against_table(const ModelSpec& spec, const std::unordered_map<std::string, StoredTensor>& stored,
                         const std::string& path);

// The tensor and a check of the range; throws BugError on a name or range outside of the model.
const StoredTensor& find_tensor(const std::unordered_map<std::string, StoredTensor>& stored, const std::string& name,
                                std::int64_t begin, std::int64_t end);

}  // namespace setrl::model
