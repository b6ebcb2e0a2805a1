#include "store/checkpoint_layout.h"

#include "base/error.h"
#include "comm/mpi_handle.h"
#include "store/parallel_open.h"

namespace setrl::store {

namespace {
const char* const kShared = "shared";
const char* const kPerRank = "per_rank";
}  // namespace

Layout layout_of(const std::string& name) {
  SETRL_CHECK(name == kShared || name == kPerRank, "no layout {}", name);
  return name == kShared ? Layout::shared : Layout::per_rank;
}

std::string to_string(Layout layout) {
  return layout == Layout::shared ? kShared : kPerRank;
}

std::string obstacle(Layout layout, bool parallel_hdf5, bool many_threads) {
  if (layout == Layout::per_rank) return "";
  if (!parallel_hdf5) {
    return "store.layout=shared needs the parallel build of HDF5, and this program has the serial one: install "
           "libhdf5-openmpi-dev (Debian) or load an HDF5 module that was built with this MPI, configure a new build "
           "folder with -DSETRL_PARALLEL_HDF5=ON, and build; or take store.layout=per_rank";
  }
  if (!many_threads) {
    return "store.layout=shared writes from a thread of its own and needs MPI_THREAD_MULTIPLE, which this MPI library "
           "does not offer: use one that does, or take store.layout=per_rank";
  }
  return "";
}

void check_layout(Layout layout) {
  const bool parallel = h5::is_parallel();
  const bool many_threads = layout == Layout::shared && parallel && comm::many_threads();
  const std::string problem = obstacle(layout, parallel, many_threads);
  if (!problem.empty()) throw UserError(problem);
}

}  // namespace setrl::store
