// Files that survive a crash: plain POSIX writes, fsync, rename. Every failure is a UserError naming the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace setrl::store {

using Bytes = std::vector<std::uint8_t>;

// An open file; closes it at the end of its life. Move-only.
class File {
 public:
  static File create(const std::string& path);     // truncates what is there
  static File open(const std::string& path);       // for reading
  static File update(const std::string& path);     // what is there stays; for writing too
  static File append_to(const std::string& path);  // made where missing; every write goes to the end
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  void write(const void* data, std::size_t size);  // at the current end of what was written
  void write_at(std::int64_t offset, const void* data, std::size_t size);
  // Exactly `size` bytes from `offset`; a file that ends before is a UserError.
  void read_at(std::int64_t offset, void* data, std::size_t size) const;
  std::int64_t size() const;
  void truncate(std::int64_t bytes);
  // Makes an empty file this long, with room on the disk for all of it as far as the file system can promise that.
  void reserve(std::int64_t bytes);
  void sync();
  // Hints for what is written to be on its way to the disk, or there, before `sync`: no errors, no promise.
  void start_flush(std::int64_t offset, std::int64_t bytes);
  void await_flush(std::int64_t offset, std::int64_t bytes);
  const std::string& path() const { return path_; }

 private:
  File(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  int descriptor_ = -1;
  std::string path_;
};

Bytes read_whole_file(const std::string& path);

// Makes entries of a directory (new names, renames) permanent.
void sync_directory(const std::string& path);

// Makes the directory and its parents.
void make_directories(const std::string& path);

void rename_path(const std::string& from, const std::string& to);

// Writes PATH.tmp, fsyncs it, renames it to PATH, fsyncs the folder. On failure PATH is as before and PATH.tmp is gone.
void publish_file(const std::string& path, const Bytes& bytes);

// Throws UserError: "PATH: cannot ACTION: reason of errno".
[[noreturn]] void throw_os_error(const std::string& path, const std::string& action);

}  // namespace setrl::store
