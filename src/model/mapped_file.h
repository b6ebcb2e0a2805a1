// A read-only memory-mapped file. Move-only; unmapped by the destructor; readable from any thread.
#pragma once

#include <cstdint>
#include <string>

namespace setrl::model {

class MappedFile {
 public:
  explicit MappedFile(std::string path);  // throws UserError naming the file
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::uint8_t* data() const { return data_; }
  std::uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::uint8_t* data_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace setrl::model
