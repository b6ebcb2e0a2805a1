// A thin layer over the HDF5 C API: owning handles, errors as exceptions, the few shapes of data that the store needs.
// The library is not thread-safe: one thread of a process owns all calls. The only header with hdf5.h.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "store/durable_file.h"
#include "store/memory_file.h"

namespace setrl::store::h5 {

// Throws UserError "WHAT: the innermost message of HDF5's error stack".
[[noreturn]] void fail(const std::string& what);

inline hid_t check(hid_t result, const std::string& what) {
  if (result < 0) fail(what);
  return result;
}

// Owns one HDF5 object. The destructor closes it silently; `close` reports.
class Handle {
 public:
  using Closer = herr_t (*)(hid_t);
  Handle(hid_t id, Closer closer, const std::string& what) : id_(check(id, what)), closer_(closer) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), closer_(other.closer_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(closer_, other.closer_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) closer_(id_);
  }
  hid_t get() const { return id_; }
  void close(const std::string& what) {
    if (closer_(std::exchange(id_, -1)) < 0) fail(what);
  }

 private:
  hid_t id_;
  Closer closer_;
};

// For opening files: with strong close, nothing stays open behind a closed file.
Handle file_access();

// A new file, built in memory: no disk can fail under HDF5. Format of HDF5 1.10, without time stamps (equal content
// gives equal bytes). Datasets whose space is allotted
// early and that are not written take no memory; the caller puts their data into the file on disk, at H5Dget_offset.
class Image {
 public:
  explicit Image(std::size_t user_block);  // 0, 512, 1024, ... bytes at the start that are the caller's
  hid_t get() const { return file_.get(); }
  const MemoryFile& close();  // lives as long as this

 private:
  static Handle create(MemoryFile& memory, std::size_t user_block);
  std::unique_ptr<MemoryFile> memory_;  // outlives file_
  Handle file_;
};

Handle open_image(const Bytes& bytes, const std::string& name);  // `name` only for messages; copies the bytes

Handle make_group(hid_t where, const std::string& name);
// The missing groups above a path. (Those that HDF5 would make by itself carry the time of day.)
void make_parents(hid_t where, const std::string& path);
Handle dataspace(const std::vector<hsize_t>& extents);  // no extents: a scalar
Handle dataset_creation();                              // property list without time stamps
Handle link_creation();                                 // makes missing groups of the path, names in UTF-8
Handle string_type();                                   // variable length, UTF-8

// Memory type (= type in the file; all supported machines are little-endian).
template <typename T>
hid_t type_of();

// A dataset with the given extents. `compress`: chunks of at most 64 Ki elements with shuffle and deflate.
void write_raw(hid_t where, const std::string& name, hid_t type, const std::vector<hsize_t>& extents, const void* data,
               bool compress);
// Reads a whole dataset of `rank` dimensions; returns its extents. `resize(elements)` returns the place for the data.
template <typename T>
std::vector<T> read_array(hid_t where, const std::string& name, std::vector<hsize_t>& extents);
template <typename T>
std::vector<T> read_array(hid_t where, const std::string& name);  // one dimension

template <typename T>
void write_array(hid_t where, const std::string& name, const std::vector<T>& values) {
  write_raw(where, name, type_of<T>(), {values.size()}, values.data(), true);
}

// Variable-length UTF-8 strings. They cannot hold NUL: it is written as U+2400 (SYMBOL FOR NULL).
void write_strings(hid_t where, const std::string& name, const std::vector<std::string>& values);
std::vector<std::string> read_strings(hid_t where, const std::string& name);
void write_string(hid_t where, const std::string& name, const std::string& value);  // scalar dataset
std::string read_string(hid_t where, const std::string& name);

// Bytes with names for their values, as h5dump shows them.
using EnumNames = std::vector<std::pair<const char*, std::uint8_t>>;
void write_enums(hid_t where, const std::string& name, const EnumNames& names, const std::vector<std::uint8_t>& values);

void write_attribute(hid_t where, const std::string& name, std::int64_t value);
void write_attribute(hid_t where, const std::string& name, const std::string& value);
void write_attribute(hid_t where, const std::string& name, const std::vector<std::int64_t>& values);
void write_attribute(hid_t where, const std::string& name, std::uint32_t value);
std::int64_t read_integer_attribute(hid_t where, const std::string& name);
std::string read_string_attribute(hid_t where, const std::string& name);

}  // namespace setrl::store::h5
