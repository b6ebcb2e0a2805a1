#include "store/hdf5_memory_driver.h"

#include <cstring>
#include <functional>
#include <new>

#include "base/error.h"

namespace setrl::store::h5 {

namespace {

// What the access list carries.
struct Access {
  MemoryFile* memory;
};

// HDF5 wants its own part first.
struct OpenFile {
  H5FD_t hdf5;
  MemoryFile* memory;
  haddr_t end_of_allocation;
};

OpenFile* of(H5FD_t* file) {
  return reinterpret_cast<OpenFile*>(file);
}
const OpenFile* of(const H5FD_t* file) {
  return reinterpret_cast<const OpenFile*>(file);
}

H5FD_t* open_file(const char*, unsigned, hid_t file_access, haddr_t) {
  const auto* access = static_cast<const Access*>(H5Pget_driver_info(file_access));
  if (access == nullptr) return nullptr;
  auto* file = new (std::nothrow) OpenFile{};
  if (file == nullptr) return nullptr;
  file->memory = access->memory;
  return &file->hdf5;
}

herr_t close_file(H5FD_t* file) {
  of(file)->memory->resize(of(file)->end_of_allocation);
  delete of(file);
  return 0;
}

int compare(const H5FD_t* a, const H5FD_t* b) {
  const std::less<const MemoryFile*> before;
  return before(of(a)->memory, of(b)->memory) ? -1 : before(of(b)->memory, of(a)->memory) ? 1 : 0;
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t end_of_allocation(const H5FD_t* file, H5FD_mem_t) {
  return of(file)->end_of_allocation;
}

herr_t set_end_of_allocation(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  of(file)->end_of_allocation = address;
  return 0;
}

haddr_t end_of_file(const H5FD_t* file, H5FD_mem_t) {
  return of(file)->memory->size();
}

herr_t read(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
  of(file)->memory->read(address, buffer, size);
  return 0;
}

herr_t write(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, const void* buffer) {
  try {
    of(file)->memory->write(address, buffer, size);
  } catch (const std::bad_alloc&) {
    return -1;
  }
  return 0;
}

hid_t register_driver() {
  static H5FD_class_t driver{};
  driver.name = "setrl memory";
  driver.maxaddr = static_cast<haddr_t>(1) << 62;
  driver.fc_degree = H5F_CLOSE_STRONG;
  driver.fapl_size = sizeof(Access);
  driver.open = open_file;
  driver.close = close_file;
  driver.cmp = compare;
  driver.query = query;
  driver.get_eoa = end_of_allocation;
  driver.set_eoa = set_end_of_allocation;
  driver.get_eof = end_of_file;
  driver.read = read;
  driver.write = write;
  const H5FD_mem_t apart[] = H5FD_FLMAP_DICHOTOMY;  // data and HDF5's own are allotted from different blocks
  std::memcpy(driver.fl_map, apart, sizeof(apart));
  return H5FDregister(&driver);
}

}  // namespace

void use_memory(hid_t file_access, MemoryFile& memory) {
  static const hid_t driver = register_driver();
  const Access access{&memory};
  SETRL_CHECK(driver >= 0 && H5Pset_driver(file_access, driver, &access) >= 0, "HDF5 refuses the memory driver");
}

}  // namespace setrl::store::h5
