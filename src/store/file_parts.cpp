#include "store/file_parts.h"

#include <algorithm>

#include "base/error.h"
#include "store/crc32c.h"
#include "store/hdf5.h"

namespace setrl::store {

std::int64_t bytes_of(const Slice& slice) {
  return (slice.end - slice.begin) * static_cast<std::int64_t>(sizeof(float));
}

void check_slice(const TensorView& tensor) {
  SETRL_CHECK(tensor.dtype == DType::float32, "{}: checkpoints hold float32", tensor.name);
  SETRL_CHECK(tensor.begin >= 0 && tensor.begin <= tensor.end && tensor.end <= tensor.elements(),
              "{}: slice [{}, {}) of {}", tensor.name, tensor.begin, tensor.end, tensor.elements());
  SETRL_CHECK(tensor.begin == tensor.end || tensor.data != nullptr, "{}: no data", tensor.name);
}

Slice place_slice(hid_t image, const TensorView& tensor) {
  Slice slice{tensor.name, tensor.shape, tensor.begin, tensor.end, 0, 0, {}};
  const std::int64_t elements = tensor.end - tensor.begin;
  if (elements == 0) return slice;

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

Checksums::Checksums(const std::vector<TensorView>& tensors, std::vector<Slice>& slices)
    : work_(std::async(std::launch::async, [this, &tensors, &slices] {
        for (std::size_t i = 0; i < slices.size(); ++i) add(static_cast<const float*>(tensors[i].data), slices[i]);
      })) {}

void Checksums::add(const float* data, Slice& slice) {
  const std::int64_t elements = slice.end - slice.begin;
  for (std::int64_t at = 0; at < elements && !stopped_; at += kBlockElements) {
    const auto bytes = static_cast<std::size_t>(std::min(kBlockElements, elements - at)) * sizeof(float);
    const std::uint32_t crc = crc32c(data + at, bytes);
    slice.block_crc32c.push_back(crc);
    slice.crc32c = crc32c_combine(slice.crc32c, crc, bytes);
  }
}

void Pace::cached(std::int64_t begin, std::int64_t end) {
  begin_ = std::min(begin_, begin);
  end_ = std::max(end_, end);
}

void Pace::advance(std::int64_t bytes) {
  written_ += bytes;
  if (written_ < kPauseBytes) return;
  if (end_ > begin_) file_.start_flush(begin_, end_ - begin_);
  if (last_end_ > last_begin_) file_.await_flush(last_begin_, last_end_ - last_begin_);
  last_begin_ = begin_;
  last_end_ = end_;
  begin_ = kNowhere;
  end_ = written_ = 0;
  pause_();
}

std::uint32_t crc32c_of_file(std::int64_t bytes, const std::vector<Slice>& slices, const FillBytes& around) {
  std::vector<const Slice*> order;
  for (const auto& slice : slices) {
    if (slice.begin != slice.end) order.push_back(&slice);
  }
  std::sort(order.begin(), order.end(), [](const Slice* a, const Slice* b) { return a->offset < b->offset; });
  std::uint32_t crc = 0;
  std::int64_t at = 0;
  Bytes gap;
  const auto fill_until = [&](std::int64_t stop) {
    SETRL_CHECK(stop >= at, "slices overlap at byte {}", stop);
    gap.resize(static_cast<std::size_t>(stop - at));
    if (!gap.empty()) around(at, gap);
    crc = crc32c(gap.data(), gap.size(), crc);
    at = stop;
  };
  for (const Slice* slice : order) {
    fill_until(slice->offset);
    crc = crc32c_combine(crc, slice->crc32c, static_cast<std::uint64_t>(bytes_of(*slice)));
    at += bytes_of(*slice);
  }
  fill_until(bytes);
  return crc;
}

}  // namespace setrl::store
