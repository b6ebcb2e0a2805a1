// Writes that go from a program's memory to the disk without a copy in the page cache. A checkpoint is read back
// rarely; in the cache it would push out what is in use, and copying it there, writing it back and forgetting it page
// by page costs the cores that train more than all the rest of a save.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace setrl::store {

class DirectFile {
 public:
  static constexpr std::size_t kPage = 4096;  // what file, memory and length have to be multiples of

  // The file exists. Where the file system takes no direct writes, every write is left to the caller.
  explicit DirectFile(const std::string& path);
  ~DirectFile();
  DirectFile(const DirectFile&) = delete;
  DirectFile& operator=(const DirectFile&) = delete;

  // Writes the whole pages that `data` begins with and returns their bytes; 0 where offset or memory begin elsewhere,
  // or the file system refuses. The rest is the caller's. Throws UserError where the disk fails or is full. Like any
  // write, it is permanent after an fsync of the file.
  std::size_t write_at(std::int64_t offset, const void* data, std::size_t bytes);

 private:
  int descriptor_ = -1;
  std::string path_;
};

}  // namespace setrl::store
