#include "store/sealed_file.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "store/crc32c.h"

namespace setrl::store {

namespace {

// The seal of a file is a function of its kind, size and content.
Bytes seal_of(const std::string& kind, const Bytes& file) {
  const std::uint32_t checksum = crc32c(file.data() + kSealBytes, file.size() - kSealBytes);
  const std::string text =
      fmt::format("{}\nbytes {}\ncrc32c of bytes {} to the end {:08x}\n", kind, file.size(), kSealBytes, checksum);
  SETRL_CHECK(text.size() <= kSealBytes, "seal of {} bytes", text.size());
  Bytes seal(text.begin(), text.end());
  seal.resize(kSealBytes, 0);
  return seal;
}

}  // namespace

Bytes sealed(const std::string& kind, Bytes image) {
  SETRL_CHECK(image.size() > kSealBytes, "image of {} bytes", image.size());
  const Bytes seal = seal_of(kind, image);
  std::copy(seal.begin(), seal.end(), image.begin());
  return image;
}

void publish_sealed(const std::string& path, const std::string& kind, Bytes image) {
  publish_file(path, sealed(kind, std::move(image)));
}

Bytes read_sealed(const std::string& path, const std::string& kind) {
  Bytes file = read_whole_file(path);
  if (file.size() < kSealBytes) throw_user_error("{}: the file is cut off after {} bytes", path, file.size());
  const std::string first_line(file.begin(), std::find(file.begin(), file.begin() + kSealBytes, '\n'));
  if (first_line != kind) throw_user_error("{}: is not a file of the kind \"{}\"", path, kind);
  // Comparing the whole seal leaves no bit of the file unchecked.
  const Bytes expected = seal_of(kind, file);
  if (!std::equal(expected.begin(), expected.end(), file.begin())) {
    throw_user_error("{}: the file is damaged: its length or checksum is not what its first {} bytes announce", path,
                     kSealBytes);
  }
  return file;
}

}  // namespace setrl::store
