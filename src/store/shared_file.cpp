#include "store/shared_file.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "store/file_parts.h"
#include "store/parallel_open.h"

namespace setrl::store {

namespace {

std::string path_in(const std::string& folder) {
  return (std::filesystem::path(folder) / kSharedName).string();
}

// Fills in where the slice lies, and writes it there.
void write_slice(hid_t dataset, const TensorView& tensor, Slice& slice, Pace& pace) {
  const haddr_t begin_of_dataset = H5Dget_offset(dataset);
  if (begin_of_dataset == HADDR_UNDEF) h5::fail(tensor.name);
  slice.offset = static_cast<std::int64_t>(begin_of_dataset + static_cast<std::uint64_t>(slice.begin) * sizeof(float));
  const h5::Handle in_file(H5Dget_space(dataset), H5Sclose, tensor.name);
  const std::int64_t elements = slice.end - slice.begin;
  constexpr std::int64_t kPortion = kPortionBytes / static_cast<std::int64_t>(sizeof(float));
  for (std::int64_t at = 0; at < elements; at += kPortion) {
    const auto start = static_cast<hsize_t>(slice.begin + at);
    const auto count = static_cast<hsize_t>(std::min(kPortion, elements - at));
    h5::check(H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, &start, nullptr, &count, nullptr), tensor.name);
    const h5::Handle in_memory = h5::dataspace({count});
    h5::check(H5Dwrite(dataset, H5T_NATIVE_FLOAT, in_memory.get(), in_file.get(), H5P_DEFAULT,
                       static_cast<const float*>(tensor.data) + at),
              "cannot write " + tensor.name);
    const std::int64_t from = slice.offset + at * static_cast<std::int64_t>(sizeof(float));
    const auto bytes = static_cast<std::int64_t>(count * sizeof(float));
    pace.cached(from, from + bytes);
    pace.advance(bytes);
  }
}

}  // namespace

void create_shared_file(const std::string& folder, std::int64_t step, const std::vector<TensorView>& tensors) {
  File file = File::create(path_in(folder));
  h5::Image image(0);
  h5::write_attribute(image.get(), "format", std::string("SetRL checkpoint shared file"));
  h5::write_attribute(image.get(), "schema_version", std::int64_t{1});
  h5::write_attribute(image.get(), "step", step);
  std::vector<Slice> whole;
  for (TensorView tensor : tensors) {
    tensor.begin = 0;
    tensor.end = tensor.elements();
    whole.push_back(place_slice(image.get(), tensor));
  }
  const MemoryFile& structure = image.close();
  const auto bytes = static_cast<std::int64_t>(structure.size());
  file.reserve(bytes);
  crc32c_of_file(bytes, whole, [&](std::int64_t offset, Bytes& gap) {
    structure.read(static_cast<std::uint64_t>(offset), gap.data(), gap.size());
    file.write_at(offset, gap.data(), gap.size());
  });
}

SharedFile::SharedFile(const std::string& folder, comm::Communicator& writers)
    : path_(path_in(folder)), writers_(writers), file_(File::update(path_)) {}

SharedFile::~SharedFile() {
  if (hdf5_ >= 0) log::warning("{}: stays open in this process, as not all ranks came to close it", path_);
}

void SharedFile::open() {
  hdf5_ = h5::open_together(path_, writers_);
}

RankFile SharedFile::write(const std::vector<TensorView>& tensors, const std::function<void()>& pause) {
  RankFile part;
  part.name = kSharedName;
  for (const auto& tensor : tensors) {
    check_slice(tensor);
    part.slices.push_back({tensor.name, tensor.shape, tensor.begin, tensor.end, 0, 0, {}});
  }
  Checksums checksums(tensors, part.slices);
  Pace pace(file_, pause);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].begin == tensors[i].end) continue;
    const h5::Handle dataset(H5Dopen2(hdf5_, tensors[i].name.c_str(), H5P_DEFAULT), H5Dclose, tensors[i].name);
    write_slice(dataset.get(), tensors[i], part.slices[i], pace);
  }
  checksums.finish();
  file_.sync();
  return part;
}

void SharedFile::close() {
  const bool closed = H5Fclose(std::exchange(hdf5_, -1)) >= 0;
  writers_.barrier();
  if (!closed) h5::fail(path_);
}

RankFile join_parts(const std::string& folder, const std::vector<RankFile>& parts) {
  File file = File::update(path_in(folder));
  file.sync();
  RankFile whole;
  whole.name = kSharedName;
  whole.bytes = file.size();
  for (const auto& part : parts) {
    whole.slices.insert(whole.slices.end(), part.slices.begin(), part.slices.end());
    whole.beside.insert(whole.beside.end(), part.beside.begin(), part.beside.end());
  }
  whole.crc32c = crc32c_of_file(whole.bytes, whole.slices,
                                [&](std::int64_t offset, Bytes& gap) { file.read_at(offset, gap.data(), gap.size()); });
  return whole;
}

}  // namespace setrl::store
