// Opening an HDF5 file by several ranks together: what only the library's parallel build can do.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "store/hdf5.h"

namespace setrl::store::h5 {

// Whether this program is linked to the parallel build.
bool is_parallel();

// Opens an existing file, for writing, through MPI-IO. Collective over `ranks`, and so is closing it. HDF5 makes
// communicators of its own from `ranks` and calls MPI without regard to other threads (comm::many_threads). Data are
// written by each rank for itself, unless a transfer list says otherwise.
hid_t open_together(const std::string& path, const comm::Communicator& ranks);

}  // namespace setrl::store::h5
