// With HDF5's serial build.
#include "base/error.h"
#include "store/parallel_open.h"

namespace setrl::store::h5 {

bool is_parallel() {
  return false;
}

hid_t open_together(const std::string& path, const comm::Communicator& /*ranks*/) {
  throw BugError(path + ": HDF5's serial build cannot open it by several ranks");
}

}  // namespace setrl::store::h5
