// A read-only file mapped into memory: ranks of one host share its pages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace setrl::tasks {

// Owns the mapping; move-only.
class FileView {
 public:
  explicit FileView(const std::string& path);  // throws UserError where the file cannot be read
  ~FileView();
  FileView(FileView&& other) noexcept;
  FileView& operator=(FileView&&) = delete;
  FileView(const FileView&) = delete;
  FileView& operator=(const FileView&) = delete;

  const std::string& path() const { return path_; }
  std::string_view text() const { return {data_, size_}; }

 private:
  std::string path_;
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace setrl::tasks
