#include "store/memory_file.h"

#include <algorithm>
#include <cstring>

namespace setrl::store {

void MemoryFile::write(std::uint64_t offset, const void* data, std::size_t size) {
  const auto* from = static_cast<const std::uint8_t*>(data);
  size_ = std::max<std::uint64_t>(size_, offset + size);
  while (size != 0) {
    const std::uint64_t within = offset % kPage;
    const std::size_t count = std::min<std::size_t>(size, kPage - within);
    const auto [page, is_new] = pages_.try_emplace(offset / kPage);
    if (is_new) page->second.fill(0);
    std::memcpy(page->second.data() + within, from, count);
    from += count;
    offset += count;
    size -= count;
  }
}

void MemoryFile::read(std::uint64_t offset, void* data, std::size_t size) const {
  auto* to = static_cast<std::uint8_t*>(data);
  while (size != 0) {
    const std::uint64_t within = offset % kPage;
    const std::size_t count = std::min<std::size_t>(size, kPage - within);
    const auto page = pages_.find(offset / kPage);
    if (page == pages_.end()) {
      std::memset(to, 0, count);
    } else {
      std::memcpy(to, page->second.data() + within, count);
    }
    to += count;
    offset += count;
    size -= count;
  }
}

Bytes MemoryFile::bytes() const {
  Bytes all(size_);
  read(0, all.data(), all.size());
  return all;
}

}  // namespace setrl::store
