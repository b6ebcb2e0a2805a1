// With HDF5's parallel build, whose header brings MPI's types along.
#include "store/parallel_open.h"

#include "comm/mpi_handle.h"

namespace setrl::store::h5 {

bool is_parallel() {
  return true;
}

hid_t open_together(const std::string& path, const comm::Communicator& ranks) {
  const Handle access = file_access();
  const auto* communicator = static_cast<const MPI_Comm*>(comm::mpi_handle(ranks));
  check(H5Pset_fapl_mpio(access.get(), *communicator, MPI_INFO_NULL), path);
  return check(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get()), path);
}

}  // namespace setrl::store::h5
