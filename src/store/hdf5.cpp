#include "store/hdf5.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "store/hdf5_memory_driver.h"

namespace setrl::store::h5 {

namespace {

constexpr hsize_t kChunk = 65536;  // elements
constexpr unsigned kDeflate = 4;   // docs/trajectory_format.md has the measurement
const char* const kNulSymbol = "\xE2\x90\x80";

// Errors are thrown with HDF5's message; the library prints nothing by itself.
void silence() {
  static const bool done = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  (void)done;
}

std::string without_nul(const std::string& text) {
  std::string clean;
  for (const char byte : text) {
    if (byte == '\0') {
      clean += kNulSymbol;
    } else {
      clean += byte;
    }
  }
  return clean;
}

void write_string_block(hid_t where, const std::string& name, const Handle& space,
                        const std::vector<std::string>& values) {
  std::vector<std::string> clean;
  std::vector<const char*> pointers;
  clean.reserve(values.size());
  for (const auto& value : values) {
    clean.push_back(without_nul(value));
    pointers.push_back(clean.back().c_str());
  }
  const Handle type = string_type();
  const Handle links = link_creation();
  const Handle creation = dataset_creation();
  const Handle dataset(
      H5Dcreate2(where, name.c_str(), type.get(), space.get(), links.get(), creation.get(), H5P_DEFAULT), H5Dclose,
      name);
  if (!pointers.empty()) {
    check(H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), name);
  }
}

std::vector<std::string> read_string_block(hid_t where, const std::string& name, int expected_rank) {
  const Handle dataset(H5Dopen2(where, name.c_str(), H5P_DEFAULT), H5Dclose, name);
  const Handle space(H5Dget_space(dataset.get()), H5Sclose, name);
  const Handle stored(H5Dget_type(dataset.get()), H5Tclose, name);
  if (H5Tis_variable_str(stored.get()) <= 0 || H5Sget_simple_extent_ndims(space.get()) != expected_rank) {
    throw_user_error("{}: expected variable-length strings of {} dimensions", name, expected_rank);
  }
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  std::vector<char*> pointers(static_cast<std::size_t>(std::max<hssize_t>(count, 0)), nullptr);
  std::vector<std::string> values;
  if (pointers.empty()) return values;
  const Handle type = string_type();
  check(H5Dread(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), name);
  for (const char* pointer : pointers) values.emplace_back(pointer == nullptr ? "" : pointer);
  check(H5Dvlen_reclaim(type.get(), space.get(), H5P_DEFAULT, pointers.data()), name);
  return values;
}

void write_attribute_raw(hid_t where, const std::string& name, hid_t type, const Handle& space, const void* data) {
  const Handle attribute(H5Acreate2(where, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose, name);
  check(H5Awrite(attribute.get(), type, data), name);
}

herr_t keep_innermost(unsigned, const H5E_error2_t* error, void* message) {
  if (error->desc != nullptr && *error->desc != '\0') *static_cast<std::string*>(message) = error->desc;
  return 0;
}

}  // namespace

void fail(const std::string& what) {
  std::string message = "HDF5 gives no reason";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, &message);
  H5Eclear2(H5E_DEFAULT);
  throw_user_error("{}: {}", what, message);
}

Handle file_access() {
  silence();
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "HDF5 file access");
  check(H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG), "HDF5 close degree");
  return access;
}

Image::Image(std::size_t user_block) : memory_(std::make_unique<MemoryFile>()), file_(create(*memory_, user_block)) {}

Handle Image::create(MemoryFile& memory, std::size_t user_block) {
  const Handle access = file_access();
  check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110), "HDF5 version bounds");
  check(H5Pset_meta_block_size(access.get(), 64 * 1024), "HDF5 metadata block size");
  // Large datasets begin on a page: aligned writes, and readers may map them. HDF5 refuses smaller user blocks then.
  if (user_block == 0) check(H5Pset_alignment(access.get(), 1024 * 1024, 4096), "HDF5 alignment");
  use_memory(access.get(), memory);
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "HDF5 file creation");
  check(H5Pset_obj_track_times(creation.get(), false), "HDF5 time stamps");
  check(H5Pset_userblock(creation.get(), user_block), "HDF5 user block");
  return Handle(H5Fcreate("setrl-image", H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose, "HDF5 image");
}

const MemoryFile& Image::close() {
  file_.close("HDF5 image");
  return *memory_;
}

Handle open_image(const Bytes& bytes, const std::string& name) {
  const Handle access = file_access();
  check(H5Pset_fapl_core(access.get(), 1024 * 1024, false), "HDF5 in-memory driver");
  // The library copies the image; it does not change ours.
  check(H5Pset_file_image(access.get(), const_cast<std::uint8_t*>(bytes.data()), bytes.size()), name);
  // The driver insists that no file of the image's name exists; below /dev/null none can.
  return Handle(H5Fopen(("/dev/null/" + name).c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose, name);
}

Handle make_group(hid_t where, const std::string& name) {
  const Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, name);
  check(H5Pset_obj_track_times(creation.get(), false), name);
  const Handle links = link_creation();
  return Handle(H5Gcreate2(where, name.c_str(), links.get(), creation.get(), H5P_DEFAULT), H5Gclose, name);
}

void make_parents(hid_t where, const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    const htri_t exists = H5Lexists(where, parent.c_str(), H5P_DEFAULT);
    if (exists < 0) fail(path);
    if (exists == 0) make_group(where, parent);
  }
}

Handle dataspace(const std::vector<hsize_t>& extents) {
  if (extents.empty()) return Handle(H5Screate(H5S_SCALAR), H5Sclose, "HDF5 dataspace");
  return Handle(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), H5Sclose,
                "HDF5 dataspace");
}

Handle dataset_creation() {
  Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "HDF5 dataset creation");
  check(H5Pset_obj_track_times(creation.get(), false), "HDF5 time stamps");
  return creation;
}

Handle link_creation() {
  Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, "HDF5 link creation");
  check(H5Pset_char_encoding(links.get(), H5T_CSET_UTF8), "HDF5 link creation");
  return links;
}

Handle string_type() {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "HDF5 string type");
  check(H5Tset_size(type.get(), H5T_VARIABLE), "HDF5 string type");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "HDF5 string type");
  return type;
}

template <>
hid_t type_of<std::int8_t>() {
  return H5T_NATIVE_INT8;
}
template <>
hid_t type_of<std::uint8_t>() {
  return H5T_NATIVE_UINT8;
}
template <>
hid_t type_of<std::int32_t>() {
  return H5T_NATIVE_INT32;
}
template <>
hid_t type_of<std::uint32_t>() {
  return H5T_NATIVE_UINT32;
}
template <>
hid_t type_of<std::int64_t>() {
  return H5T_NATIVE_INT64;
}
template <>
hid_t type_of<float>() {
  return H5T_NATIVE_FLOAT;
}
template <>
hid_t type_of<double>() {
  return H5T_NATIVE_DOUBLE;
}

void write_raw(hid_t where, const std::string& name, hid_t type, const std::vector<hsize_t>& extents, const void* data,
               bool compress) {
  const Handle space = dataspace(extents);
  const Handle creation = dataset_creation();
  const Handle links = link_creation();
  const hsize_t elements =
      std::accumulate(extents.begin(), extents.end(), hsize_t{1}, [](hsize_t a, hsize_t b) { return a * b; });
  if (compress && !extents.empty() && elements > 0) {
    std::vector<hsize_t> chunk = extents;
    chunk[0] = std::clamp<hsize_t>(kChunk / (elements / extents[0]), 1, extents[0]);
    check(H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data()), name);
    if (H5Tget_size(type) > 1) check(H5Pset_shuffle(creation.get()), name);
    check(H5Pset_deflate(creation.get(), kDeflate), name);
  }
  const Handle dataset(H5Dcreate2(where, name.c_str(), type, space.get(), links.get(), creation.get(), H5P_DEFAULT),
                       H5Dclose, name);
  if (elements > 0) check(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), name);
}

template <typename T>
std::vector<T> read_array(hid_t where, const std::string& name, std::vector<hsize_t>& extents) {
  const Handle dataset(H5Dopen2(where, name.c_str(), H5P_DEFAULT), H5Dclose, name);
  const Handle space(H5Dget_space(dataset.get()), H5Sclose, name);
  extents.resize(static_cast<std::size_t>(std::max(H5Sget_simple_extent_ndims(space.get()), 0)));
  if (!extents.empty()) check(H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr), name);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  std::vector<T> values(static_cast<std::size_t>(std::max<hssize_t>(count, 0)));
  if (!values.empty()) {
    check(H5Dread(dataset.get(), type_of<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), name);
  }
  return values;
}

template <typename T>
std::vector<T> read_array(hid_t where, const std::string& name) {
  std::vector<hsize_t> extents;
  auto values = read_array<T>(where, name, extents);
  if (extents.size() != 1) throw_user_error("{}: expected one dimension, found {}", name, extents.size());
  return values;
}

template std::vector<std::int8_t> read_array(hid_t, const std::string&);
template std::vector<std::uint8_t> read_array(hid_t, const std::string&);
template std::vector<std::int32_t> read_array(hid_t, const std::string&);
template std::vector<std::uint32_t> read_array(hid_t, const std::string&);
template std::vector<std::int64_t> read_array(hid_t, const std::string&);
template std::vector<float> read_array(hid_t, const std::string&);
template std::vector<double> read_array(hid_t, const std::string&);
template std::vector<double> read_array(hid_t, const std::string&, std::vector<hsize_t>&);

void write_strings(hid_t where, const std::string& name, const std::vector<std::string>& values) {
  write_string_block(where, name, dataspace({values.size()}), values);
}

std::vector<std::string> read_strings(hid_t where, const std::string& name) {
  return read_string_block(where, name, 1);
}

void write_string(hid_t where, const std::string& name, const std::string& value) {
  write_string_block(where, name, dataspace({}), {value});
}

std::string read_string(hid_t where, const std::string& name) {
  return read_string_block(where, name, 0).at(0);
}

void write_enums(hid_t where, const std::string& name, const EnumNames& names,
                 const std::vector<std::uint8_t>& values) {
  const Handle type(H5Tenum_create(H5T_NATIVE_UINT8), H5Tclose, name);
  for (const auto& [label, value] : names) check(H5Tenum_insert(type.get(), label, &value), name);
  write_raw(where, name, type.get(), {values.size()}, values.data(), true);
}

void write_attribute(hid_t where, const std::string& name, std::int64_t value) {
  write_attribute_raw(where, name, H5T_NATIVE_INT64, dataspace({}), &value);
}

void write_attribute(hid_t where, const std::string& name, std::uint32_t value) {
  write_attribute_raw(where, name, H5T_NATIVE_UINT32, dataspace({}), &value);
}

void write_attribute(hid_t where, const std::string& name, const std::vector<std::int64_t>& values) {
  const std::int64_t nothing = 0;  // HDF5 wants a buffer for no values too
  write_attribute_raw(where, name, H5T_NATIVE_INT64, dataspace({values.size()}),
                      values.empty() ? &nothing : values.data());
}

void write_attribute(hid_t where, const std::string& name, const std::string& value) {
  const std::string clean = without_nul(value);
  const char* pointer = clean.c_str();
  const Handle type = string_type();
  write_attribute_raw(where, name, type.get(), dataspace({}), &pointer);
}

std::int64_t read_integer_attribute(hid_t where, const std::string& name) {
  const Handle attribute(H5Aopen(where, name.c_str(), H5P_DEFAULT), H5Aclose, name);
  std::int64_t value = 0;
  check(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), name);
  return value;
}

std::string read_string_attribute(hid_t where, const std::string& name) {
  const Handle attribute(H5Aopen(where, name.c_str(), H5P_DEFAULT), H5Aclose, name);
  const Handle type = string_type();
  char* pointer = nullptr;
  check(H5Aread(attribute.get(), type.get(), &pointer), name);
  std::string value = pointer == nullptr ? "" : pointer;
  if (pointer != nullptr) H5free_memory(pointer);
  return value;
}

}  // namespace setrl::store::h5
