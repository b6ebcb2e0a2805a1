#include "store/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"

namespace setrl::store {

namespace {

int open_retrying(const std::string& path, int flags) {
  for (;;) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    if (descriptor >= 0 || errno != EINTR) return descriptor;
  }
}

}  // namespace

void throw_os_error(const std::string& path, const std::string& action) {
  throw_user_error("{}: cannot {}: {}", path, action, std::strerror(errno));
}

File File::create(const std::string& path) {
  const int descriptor = open_retrying(path, O_CREAT | O_TRUNC | O_RDWR);
  if (descriptor < 0) throw_os_error(path, "create");
  return File(descriptor, path);
}

File File::open(const std::string& path) {
  const int descriptor = open_retrying(path, O_RDONLY);
  if (descriptor < 0) throw_os_error(path, "open");
  return File(descriptor, path);
}

File File::update(const std::string& path) {
  const int descriptor = open_retrying(path, O_RDWR);
  if (descriptor < 0) throw_os_error(path, "open for writing");
  return File(descriptor, path);
}

File File::append_to(const std::string& path) {
  const int descriptor = open_retrying(path, O_CREAT | O_APPEND | O_RDWR);
  if (descriptor < 0) throw_os_error(path, "open for appending");
  return File(descriptor, path);
}

File::File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void File::write(const void* data, std::size_t size) {
  const auto* from = static_cast<const std::uint8_t*>(data);
  while (size != 0) {
    const ssize_t written = ::write(descriptor_, from, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      throw_os_error(path_, "write");
    }
    from += written;
    size -= static_cast<std::size_t>(written);
  }
}

void File::write_at(std::int64_t offset, const void* data, std::size_t size) {
  const auto* from = static_cast<const std::uint8_t*>(data);
  while (size != 0) {
    const ssize_t written = ::pwrite(descriptor_, from, size, offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      throw_os_error(path_, "write");
    }
    from += written;
    offset += written;
    size -= static_cast<std::size_t>(written);
  }
}

void File::read_at(std::int64_t offset, void* data, std::size_t size) const {
  auto* to = static_cast<std::uint8_t*>(data);
  while (size != 0) {
    const ssize_t got = ::pread(descriptor_, to, size, offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw_os_error(path_, "read");
    }
    if (got == 0) throw_user_error("{}: the file is cut off: {} bytes are missing at byte {}", path_, size, offset);
    to += got;
    offset += got;
    size -= static_cast<std::size_t>(got);
  }
}

std::int64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw_os_error(path_, "read the size");
  if (!S_ISREG(status.st_mode)) throw_user_error("{}: is not a regular file", path_);
  return status.st_size;
}

void File::truncate(std::int64_t bytes) {
  if (::ftruncate(descriptor_, bytes) != 0) throw_os_error(path_, "shorten");
}

void File::reserve(std::int64_t bytes) {
  while (::fallocate(descriptor_, 0, 0, bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP) throw_os_error(path_, "write");
    truncate(bytes);
    return;
  }
}

void File::sync() {
  while (::fsync(descriptor_) != 0) {
    if (errno != EINTR) throw_os_error(path_, "make permanent (fsync)");
  }
}

void File::start_flush(std::int64_t offset, std::int64_t bytes) {
  ::sync_file_range(descriptor_, offset, bytes, SYNC_FILE_RANGE_WRITE);
}

void File::await_flush(std::int64_t offset, std::int64_t bytes) {
  ::sync_file_range(descriptor_, offset, bytes,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

Bytes read_whole_file(const std::string& path) {
  const File file = File::open(path);
  Bytes bytes(static_cast<std::size_t>(file.size()));
  file.read_at(0, bytes.data(), bytes.size());
  return bytes;
}

void sync_directory(const std::string& path) {
  const int descriptor = open_retrying(path, O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) throw_os_error(path, "open the folder");
  // Some network file systems refuse fsync of a folder; their rename is synchronous.
  const bool failed = ::fsync(descriptor) != 0 && errno != EINVAL;
  const int reason = errno;
  ::close(descriptor);
  errno = reason;
  if (failed) throw_os_error(path, "make permanent (fsync)");
}

void make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw_user_error("{}: cannot create the folder: {}", path, error.message());
}

void rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_os_error(from, "rename to " + to);
}

void publish_file(const std::string& path, const Bytes& bytes) {
  const std::string temporary = path + ".tmp";
  try {
    File file = File::create(temporary);
    file.write(bytes.data(), bytes.size());
    file.sync();
    rename_path(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  sync_directory(folder.empty() ? "." : folder);
}

}  // namespace setrl::store
