#include "store/sealed_file.h"

#include <algorithm>

#include "base/error.h"
#include "store/crc32c.h"

namespace setrl::store {

namespace {

constexpr std::size_t kBlock = 512;  // the smallest user block of HDF5

Bytes user_block(const std::string& kind, std::size_t file_bytes, std::uint32_t checksum) {
  const std::string text =
      fmt::format("{}\nbytes {}\ncrc32c of bytes {} to the end {:08x}\n", kind, file_bytes, kBlock, checksum);
  SETRL_CHECK(text.size() <= kBlock, "user block of {} bytes", text.size());
  Bytes block(text.begin(), text.end());
  block.resize(kBlock, 0);
  return block;
}

}  // namespace

void publish_sealed(const std::string& path, const std::string& kind, const Bytes& image) {
  const Bytes block = user_block(kind, kBlock + image.size(), crc32c(image.data(), image.size()));
  publish_file(path, {&block, &image});
}

Bytes read_sealed(const std::string& path, const std::string& kind) {
  Bytes file = read_whole_file(path);
  if (file.size() < kBlock) throw_user_error("{}: the file is cut off after {} bytes", path, file.size());
  const std::string first_line(file.begin(), std::find(file.begin(), file.begin() + kBlock, '\n'));
  if (first_line != kind) throw_user_error("{}: is not a file of the kind \"{}\"", path, kind);
  const Bytes image(file.begin() + kBlock, file.end());
  // The block is a function of the content, so comparing it whole leaves no bit of the file unchecked.
  const Bytes expected = user_block(kind, file.size(), crc32c(image.data(), image.size()));
  if (!std::equal(expected.begin(), expected.end(), file.begin())) {
    throw_user_error("{}: the file is damaged: its length or checksum is not what its first 512 bytes announce", path);
  }
  return image;
}

}  // namespace setrl::store
