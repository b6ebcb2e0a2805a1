// Binary encoding of the records that cross ranks. Same-endian machines only (checked by the launcher's handshake).
#pragma once

#include <cstdint>
#include <vector>

#include "records/group.h"

namespace setrl {

using Bytes = std::vector<std::uint8_t>;

Bytes encode(const Group& group);

// Throws BugError when the bytes are not exactly one encoded group.
Group decode_group(const Bytes& bytes);

}  // namespace setrl
