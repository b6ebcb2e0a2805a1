#include "store/rank_file.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <future>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/crc32c.h"
#include "store/direct_file.h"
#include "store/hdf5.h"

namespace setrl::store {

namespace {

using nlohmann::json;

constexpr std::int64_t kPortion = 8 * kBlockBytes;  // of one write

std::int64_t bytes_of(const Slice& slice) {
  return (slice.end - slice.begin) * static_cast<std::int64_t>(sizeof(float));
}

// Writes into the file: directly what lies on whole pages, the rest through the page cache, whose content is sent on to
// the disk in portions.
class Outflow {
 public:
  Outflow(File& file, const std::function<void()>& pause) : file_(file), direct_(file.path()), pause_(pause) {}

  void write_at(std::int64_t offset, const char* data, std::int64_t bytes) {
    const auto direct = static_cast<std::int64_t>(direct_.write_at(offset, data, static_cast<std::size_t>(bytes)));
    if (direct < bytes) {
      file_.write_at(offset + direct, data + direct, static_cast<std::size_t>(bytes - direct));
      begin_ = std::min(begin_, offset + direct);
      end_ = std::max(end_, offset + bytes);
    }
    written_ += bytes;
    if (written_ >= kPauseBytes) next();
  }

 private:
  void next() {
    if (end_ > begin_) file_.start_flush(begin_, end_ - begin_);
    if (last_end_ > last_begin_) file_.await_flush(last_begin_, last_end_ - last_begin_);
    last_begin_ = begin_;
    last_end_ = end_;
    begin_ = std::numeric_limits<std::int64_t>::max();
    end_ = written_ = 0;
    pause_();
  }

  File& file_;
  DirectFile direct_;
  const std::function<void()>& pause_;
  std::int64_t begin_ = std::numeric_limits<std::int64_t>::max(), end_ = 0, written_ = 0;
  std::int64_t last_begin_ = 0, last_end_ = 0;
};

// Fills in the checksums of slices, by a thread of its own: the one that writes waits for the disk meanwhile.
class Checksums {
 public:
  Checksums(const std::vector<TensorView>& tensors, std::vector<Slice>& slices)
      : work_(std::async(std::launch::async, [this, &tensors, &slices] {
          for (std::size_t i = 0; i < slices.size(); ++i) add(static_cast<const float*>(tensors[i].data), slices[i]);
        })) {}
  // Where writing failed: waits for the thread, which takes no further block.
  ~Checksums() { stopped_ = true; }
  void finish() { work_.get(); }

 private:
  void add(const float* data, Slice& slice) {
    const std::int64_t elements = slice.end - slice.begin;
    for (std::int64_t at = 0; at < elements && !stopped_; at += kBlockElements) {
      const auto bytes = static_cast<std::size_t>(std::min(kBlockElements, elements - at)) * sizeof(float);
      const std::uint32_t crc = crc32c(data + at, bytes);
      slice.block_crc32c.push_back(crc);
      slice.crc32c = crc32c_combine(slice.crc32c, crc, bytes);
    }
  }

  std::atomic<bool> stopped_{false};
  std::future<void> work_;  // last: the thread uses the other
};

// The dataset goes into the image; HDF5 allots the data's place in the file.
Slice place_slice(hid_t image, const TensorView& tensor) {
  SETRL_CHECK(tensor.dtype == DType::float32, "{}: checkpoints hold float32", tensor.name);
  Slice slice{tensor.name, tensor.shape, tensor.begin, tensor.end, 0, 0, {}};
  const std::int64_t elements = tensor.end - tensor.begin;
  SETRL_CHECK(tensor.begin >= 0 && elements >= 0 && tensor.end <= tensor.elements(), "{}: slice [{}, {}) of {}",
              tensor.name, tensor.begin, tensor.end, tensor.elements());
  if (elements == 0) return slice;
  SETRL_CHECK(tensor.data != nullptr, "{}: no data", tensor.name);

  const h5::Handle space = h5::dataspace({static_cast<hsize_t>(elements)});
  const h5::Handle creation = h5::dataset_creation();
  h5::check(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), tensor.name);
  h5::check(H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY), tensor.name);
  h5::make_parents(image, tensor.name);
  const h5::Handle links = h5::link_creation();
  const h5::Handle dataset(
      H5Dcreate2(image, tensor.name.c_str(), H5T_NATIVE_FLOAT, space.get(), links.get(), creation.get(), H5P_DEFAULT),
      H5Dclose, tensor.name);
  const haddr_t offset = H5Dget_offset(dataset.get());
  if (offset == HADDR_UNDEF) h5::fail(tensor.name);
  slice.offset = static_cast<std::int64_t>(offset);
  h5::write_attribute(dataset.get(), "begin", slice.begin);
  h5::write_attribute(dataset.get(), "end", slice.end);
  h5::write_attribute(dataset.get(), "shape", slice.shape);
  return slice;
}

void write_data(Outflow& file, const TensorView& tensor, const Slice& slice) {
  const auto* data = static_cast<const char*>(tensor.data);
  for (std::int64_t at = 0; at < bytes_of(slice); at += kPortion) {
    file.write_at(slice.offset + at, data + at, std::min(kPortion, bytes_of(slice) - at));
  }
}

void note_checksum(hid_t image, const Slice& slice) {
  if (slice.begin == slice.end) return;
  const h5::Handle dataset(H5Dopen2(image, slice.tensor.c_str(), H5P_DEFAULT), H5Dclose, slice.tensor);
  h5::write_attribute(dataset.get(), "crc32c", slice.crc32c);
}

// Writes what lies around the slices. Returns the CRC-32C of the whole file.
std::uint32_t write_structure(const MemoryFile& image, const std::vector<Slice>& slices, File& file) {
  std::vector<const Slice*> order;
  for (const auto& slice : slices) {
    if (slice.begin != slice.end) order.push_back(&slice);
  }
  std::sort(order.begin(), order.end(), [](const Slice* a, const Slice* b) { return a->offset < b->offset; });
  std::uint32_t crc = 0;
  std::int64_t at = 0;
  Bytes gap;
  const auto write_until = [&](std::int64_t stop) {
    SETRL_CHECK(stop >= at, "{}: slices overlap at byte {}", file.path(), stop);
    gap.resize(static_cast<std::size_t>(stop - at));
    image.read(static_cast<std::uint64_t>(at), gap.data(), gap.size());
    file.write_at(at, gap.data(), gap.size());
    crc = crc32c(gap.data(), gap.size(), crc);
    at = stop;
  };
  for (const Slice* slice : order) {
    write_until(slice->offset);
    crc = crc32c_combine(crc, slice->crc32c, static_cast<std::uint64_t>(bytes_of(*slice)));
    at += bytes_of(*slice);
  }
  write_until(static_cast<std::int64_t>(image.size()));
  return crc;
}

}  // namespace

std::string rank_file_name(int rank) {
  return fmt::format("rank-{:04}.h5", rank);
}

RankFile write_rank_file(const std::string& folder, int rank, std::int64_t step, const std::vector<TensorView>& tensors,
                         const std::function<void()>& pause) {
  RankFile result;
  result.name = rank_file_name(rank);
  File file = File::create((std::filesystem::path(folder) / result.name).string());
  h5::Image image(0);
  h5::write_attribute(image.get(), "format", std::string("SetRL checkpoint rank file"));
  h5::write_attribute(image.get(), "schema_version", std::int64_t{1});
  h5::write_attribute(image.get(), "step", step);
  h5::write_attribute(image.get(), "rank", static_cast<std::int64_t>(rank));
  auto& slices = result.slices;
  for (const auto& tensor : tensors) slices.push_back(place_slice(image.get(), tensor));
  {
    Checksums checksums(tensors, slices);
    Outflow outflow(file, pause);
    for (std::size_t i = 0; i < slices.size(); ++i) write_data(outflow, tensors[i], slices[i]);
    checksums.finish();
  }
  for (const auto& slice : slices) note_checksum(image.get(), slice);
  const MemoryFile& structure = image.close();
  result.bytes = static_cast<std::int64_t>(structure.size());
  result.crc32c = write_structure(structure, result.slices, file);
  file.sync();
  return result;
}

Bytes encode(const RankFile& file) {
  json slices = json::array();
  for (const auto& s : file.slices) {
    slices.push_back({s.tensor, s.shape, s.begin, s.end, s.offset, s.crc32c, s.block_crc32c});
  }
  return json::to_cbor(json::array({file.name, file.bytes, file.crc32c, slices}));
}

RankFile decode_rank_file(const Bytes& bytes) {
  const json value = json::from_cbor(bytes);
  RankFile file{value.at(0).get<std::string>(), value.at(1).get<std::int64_t>(), value.at(2).get<std::uint32_t>(), {}};
  for (const auto& s : value.at(3)) {
    file.slices.push_back({s.at(0).get<std::string>(), s.at(1).get<std::vector<std::int64_t>>(),
                           s.at(2).get<std::int64_t>(), s.at(3).get<std::int64_t>(), s.at(4).get<std::int64_t>(),
                           s.at(5).get<std::uint32_t>(), s.at(6).get<std::vector<std::uint32_t>>()});
  }
  return file;
}

}  // namespace setrl::store
