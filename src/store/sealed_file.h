// An HDF5 file behind a 512-byte HDF5 user block that holds its length and CRC-32C as text. HDF5 tools skip the block;
// the store checks it before the library sees a byte, so that a damaged file is named and never parsed.
#pragma once

#include <string>

#include "store/durable_file.h"

namespace setrl::store {

constexpr std::size_t kSealBytes = 512;  // the smallest user block of HDF5

// An HDF5 image that was made with a user block of kSealBytes, with its seal. `kind`: one line, such as "SetRL
// trajectory".
Bytes sealed(const std::string& kind, Bytes image);

// Publishes (temporary name, fsync, rename) a sealed image.
void publish_sealed(const std::string& path, const std::string& kind, Bytes image);

// Returns the whole file. Throws UserError naming the file where it is of another kind, cut off,
// longer than written or where any bit differs.
Bytes read_sealed(const std::string& path, const std::string& kind);

}  // namespace setrl::store
