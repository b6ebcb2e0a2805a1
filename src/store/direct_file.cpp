#include "store/direct_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "store/durable_file.h"

namespace setrl::store {

DirectFile::DirectFile(const std::string& path)
    : descriptor_(::open(path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC)), path_(path) {}

DirectFile::~DirectFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::size_t DirectFile::write_at(std::int64_t offset, const void* data, std::size_t bytes) {
  const bool aligned =
      offset % static_cast<std::int64_t>(kPage) == 0 && reinterpret_cast<std::uintptr_t>(data) % kPage == 0;
  if (descriptor_ < 0 || !aligned) return 0;
  const std::size_t whole = bytes / kPage * kPage;
  std::size_t done = 0;
  while (done != whole) {
    const ssize_t written = ::pwrite(descriptor_, static_cast<const char*>(data) + done, whole - done,
                                     offset + static_cast<std::int64_t>(done));
    if (written >= 0) {
      done += static_cast<std::size_t>(written);
      if (done % kPage == 0) continue;
      break;  // the file system stopped within a page: what follows is no longer aligned
    }
    if (errno == EINTR) continue;
    if (errno != EINVAL) throw_os_error(path_, "write");
    ::close(descriptor_);  // larger pages than ours, or no direct writes after all
    descriptor_ = -1;
    break;
  }
  return done;
}

}  // namespace setrl::store
