// An HDF5 file driver that keeps the file in a MemoryFile. The library never touches a disk when it writes, so it
// cannot fail half-way: after a failed write of its own it keeps a broken file and crashes at the end of the process
// (1.10.8). And, unlike its in-memory driver, this one takes no memory for space that was allotted and not written: a
// file's structure can be made first and gigabytes of data be put in their places by plain writes.
#pragma once

#include <hdf5.h>

#include "store/memory_file.h"

namespace setrl::store::h5 {

// Makes a file access list use the driver for `memory`, which must outlive the file.
void use_memory(hid_t file_access, MemoryFile& memory);

}  // namespace setrl::store::h5
