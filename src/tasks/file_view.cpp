#include "tasks/file_view.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace setrl::tasks {

FileView::FileView(const std::string& path) : path_(path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw_user_error("{}: cannot be opened ({})", path, std::strerror(errno));
  struct stat status = {};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(file);
    throw_user_error("{}: is not a regular file", path);
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ > 0) {
    void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    const int problem = errno;
    ::close(file);
    if (memory == MAP_FAILED) throw_user_error("{}: cannot be mapped ({})", path, std::strerror(problem));
    data_ = static_cast<const char*>(memory);
  } else {
    ::close(file);
  }
}

FileView::~FileView() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

FileView::FileView(FileView&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

}  // namespace setrl::tasks
