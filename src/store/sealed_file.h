// An HDF5 file behind a 512-byte HDF5 user block that holds its length and CRC-32C as text. HDF5 tools skip the block;
// the store checks it before the library sees a byte, so that a damaged file is named and never parsed.
#pragma once

#include <string>

#include "store/durable_file.h"

namespace setrl::store {

// Publishes (temporary name, fsync, rename) an HDF5 image. `kind`: one line, such as "SetRL trajectory".
void publish_sealed(const std::string& path, const std::string& kind, const Bytes& image);

// Returns the HDF5 image without the block. Throws UserError naming the file where it is of another kind, cut off,
// longer than written or where any bit differs.
Bytes read_sealed(const std::string& path, const std::string& kind);

}  // namespace setrl::store
