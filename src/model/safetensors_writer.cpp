#include "model/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/number_formats.h"

namespace setrl::model {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int64_t kChunkElements = 1 << 20;

const char* dtype_name(DType dtype) {
  return dtype == DType::float32 ? "F32" : dtype == DType::bfloat16 ? "BF16" : "F16";
}

// A file that is complete on disk once `close` returns; every failed write is an error that names it.
class OutputFile {
 public:
  explicit OutputFile(const fs::path& path) : path_(path), stream_(path, std::ios::binary) { check(); }
  void write(const void* data, std::size_t bytes) {
    stream_.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    check();
  }
  void close() {
    stream_.close();
    check();
    const int descriptor = open(path_.c_str(), O_RDONLY);
    if (descriptor < 0 || fsync(descriptor) != 0) throw_user_error("cannot write '{}' to the disk", path_.string());
    ::close(descriptor);
  }

 private:
  void check() {
    if (!stream_) throw_user_error("cannot write '{}': is the disk full or the folder read-only?", path_.string());
  }
  fs::path path_;
  std::ofstream stream_;
};

}  // namespace

void write_text(const fs::path& path, const std::string& text) {
  OutputFile file(path);
  file.write(text.data(), text.size());
  file.close();
}

namespace {

void write_values(OutputFile& file, DType dtype, const std::vector<float>& values) {
  if (dtype == DType::float32) {
    file.write(values.data(), values.size() * sizeof(float));
    return;
  }
  std::vector<std::uint16_t> narrow(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    narrow[i] = dtype == DType::bfloat16 ? float_to_bfloat16(values[i]) : float_to_half(values[i]);
  }
  file.write(narrow.data(), narrow.size() * sizeof(std::uint16_t));
}

}  // namespace

void write_safetensors(const fs::path& path, const std::vector<ParameterSpec>& parameters, DType dtype,
                       const ReadSlice& read) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t offset = 0;
  for (const auto& parameter : parameters) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(parameter.elements()) * size_of(dtype);
    header[parameter.name] = {
        {"dtype", dtype_name(dtype)}, {"shape", parameter.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data start aligned
  OutputFile file(path);
  const std::uint64_t length = text.size();
  file.write(&length, sizeof length);
  file.write(text.data(), text.size());
  std::vector<float> values;
  for (const auto& parameter : parameters) {
    const std::int64_t elements = parameter.elements();
    for (std::int64_t begin = 0; begin < elements; begin += kChunkElements) {
      const std::int64_t end = std::min(elements, begin + kChunkElements);
      values.resize(static_cast<std::size_t>(end - begin));
      read(parameter.name, begin, end, values.data());
      write_values(file, dtype, values);
    }
  }
  file.close();
}

}  // namespace setrl::model
