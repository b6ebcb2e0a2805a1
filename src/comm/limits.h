// Sizes at which the MPI back end changes its way of working. Results do not depend on them; tests make them small.
#pragma once

#include <cstddef>

namespace setrl::comm {

struct Limits {
  // MPI counts are int: nothing larger than this goes through one call (bytes).
  std::size_t piece_bytes = std::size_t{256} << 20;
  // Collectives up to this size go through copies at once; larger ones first wait, idle, until all ranks are there.
  std::size_t small_bytes = std::size_t{64} << 10;
  // Bytes of exchange buffer that a reduction may use.
  std::size_t reduce_bytes = std::size_t{32} << 20;
};

}  // namespace setrl::comm
