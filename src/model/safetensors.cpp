// A Hugging Face folder: config.json with model.safetensors, or shards listed in model.safetensors.index.json.
// File format: 8 bytes little-endian header length, JSON header {name: {dtype, shape, data_offsets}}, data.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/error.h"
#include "model/stored_weights.h"

namespace setrl::model {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_user_error("cannot read '{}'", path.string());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::int64_t product(const std::vector<std::int64_t>& shape, const std::string& file, const std::string& name) {
  std::int64_t count = 1;
  for (const auto extent : shape) {
    if (extent < 0 || (extent > 0 && count > (1LL << 50) / extent)) {
      throw_user_error("{}: the tensor '{}' has an absurd shape", file, name);
    }
    count *= extent;
  }
  return count;
}

StoredTensor read_entry(const MappedFile& file, const std::string& name, const Json& entry, std::uint64_t data_begin) {
  StoredTensor tensor;
  tensor.file = file.path();
  std::string dtype;
  std::vector<std::uint64_t> offsets;
  try {
    dtype = entry.at("dtype").get<std::string>();
    tensor.shape = entry.at("shape").get<std::vector<std::int64_t>>();
    offsets = entry.at("data_offsets").get<std::vector<std::uint64_t>>();
  } catch (const Json::exception&) {
    throw_user_error("{}: the header entry of the tensor '{}' is malformed", file.path(), name);
  }
  tensor.format = safetensors_format(dtype);
  if (tensor.format == nullptr) {
    throw_user_error("{}: the tensor '{}' has the unsupported dtype {} (F32, F16, BF16)", file.path(), name, dtype);
  }
  const auto bytes = static_cast<std::uint64_t>(product(tensor.shape, file.path(), name) * tensor.format->bytes);
  const std::uint64_t available = file.size() - data_begin;
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] - offsets[0] != bytes) {
    throw_user_error("{}: the tensor '{}' has offsets that do not fit its shape", file.path(), name);
  }
  if (offsets[1] > available) {
    throw_user_error("{}: the tensor '{}' ends at byte {}, but the file holds only {}: it is cut off", file.path(),
                     name, data_begin + offsets[1], file.size());
  }
  tensor.data = file.data() + data_begin + offsets[0];
  return tensor;
}

void read_header(const MappedFile& file, std::unordered_map<std::string, StoredTensor>& tensors) {
  std::uint64_t length = 0;
  if (file.size() < 8) throw_user_error("{}: too short for a safetensors file", file.path());
  for (int i = 7; i >= 0; --i) length = length << 8 | file.data()[i];
  if (length > file.size() - 8) throw_user_error("{}: the header is cut off or not of a safetensors file", file.path());
  const auto* text = reinterpret_cast<const char*>(file.data() + 8);
  const Json header = Json::parse(text, text + length, nullptr, false);
  if (header.is_discarded() || !header.is_object()) throw_user_error("{}: the header is not JSON", file.path());
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    if (!tensors.emplace(name, read_entry(file, name, entry, 8 + length)).second) {
      throw_user_error("{}: the tensor '{}' is in two files", file.path(), name);
    }
  }
}

// Names of the weight files of the folder.
std::set<std::string> weight_files(const fs::path& folder) {
  const fs::path index = folder / "model.safetensors.index.json";
  if (!fs::exists(index)) return {"model.safetensors"};
  const Json json = Json::parse(read_text(index), nullptr, false);
  if (json.is_discarded() || !json.contains("weight_map") || !json.at("weight_map").is_object()) {
    throw_user_error("{}: not an index of safetensors files", index.string());
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : json.at("weight_map").items()) {
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      throw_user_error("{}: the tensor '{}' has an unusable file name", index.string(), tensor);
    }
    names.insert(file.get<std::string>());
  }
  return names;
}

class Safetensors : public WeightSource {
 public:
  explicit Safetensors(const std::string& folder) : folder_(folder) {
    const fs::path config = fs::path(folder) / "config.json";
    if (!fs::exists(config)) throw_user_error("'{}' holds no config.json: not a Hugging Face folder", folder);
    spec_ = parse_hf_config(read_text(config), config.string());
    for (const auto& name : weight_files(folder)) files_.emplace_back((fs::path(folder) / name).string());
    for (const auto& file : files_) read_header(file, tensors_);
    check_against_table(spec_, tensors_, folder);
  }

  const ModelSpec& spec() const override { return spec_; }

  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override {
    const StoredTensor& tensor = find_tensor(tensors_, name, begin, end);
    decode_range(*tensor.format, tensor.data, begin, end, out);
  }

  std::string describe() const override {
    return fmt::format("{}, {:.1f}M parameters, {}", folder_, static_cast<double>(spec_.parameter_count()) / 1e6,
                       tensors_.at("model.embed_tokens.weight").format->name);
  }

 private:
  std::string folder_;
  ModelSpec spec_;
  std::vector<MappedFile> files_;
  std::unordered_map<std::string, StoredTensor> tensors_;
};

}  // namespace

std::unique_ptr<WeightSource> open_safetensors(const std::string& folder) {
  return std::make_unique<Safetensors>(folder);
}

}  // namespace setrl::model
