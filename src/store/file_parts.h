// What the writers of rank files and of the shared file have in common. Internal to store.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <limits>
#include <vector>

#include "records/tensor_view.h"
#include "store/durable_file.h"
#include "store/hdf5.h"
#include "store/rank_file.h"

namespace setrl::store {

constexpr std::int64_t kPortionBytes = 8 * kBlockBytes;  // of one write

std::int64_t bytes_of(const Slice& slice);

// Throws BugError unless this is a slice that a checkpoint can hold.
void check_slice(const TensorView& tensor);

// Makes the slice's dataset, without data, in an HDF5 image; the library allots the data's place in the file. An empty
// slice has none.
Slice place_slice(hid_t image, const TensorView& tensor);

// Fills in the checksums of slices, by a thread of its own: the one that writes waits for the disk meanwhile.
class Checksums {
 public:
  // The tensors' data are those of the slices, in the same order. Borrows both.
  Checksums(const std::vector<TensorView>& tensors, std::vector<Slice>& slices);
  // Where writing failed: waits for the thread, which takes no further block.
  ~Checksums() { stopped_ = true; }
  void finish() { work_.get(); }

 private:
  void add(const float* data, Slice& slice);

  std::atomic<bool> stopped_{false};
  std::future<void> work_;  // last: the thread uses the other
};

// The pace of a long write: has what lies in the page cache sent on to the disk, and calls `pause`, as write_rank_file
// promises.
class Pace {
 public:
  // Borrows both.
  Pace(File& file, const std::function<void()>& pause) : file_(file), pause_(pause) {}

  // Bytes of the file that were written through the page cache.
  void cached(std::int64_t begin, std::int64_t end);
  // So many bytes were written, in whatever way.
  void advance(std::int64_t bytes);

 private:
  static constexpr std::int64_t kNowhere = std::numeric_limits<std::int64_t>::max();
  File& file_;
  const std::function<void()>& pause_;
  std::int64_t begin_ = kNowhere, end_ = 0, written_ = 0;
  std::int64_t last_begin_ = 0, last_end_ = 0;
};

// CRC-32C of a file of `bytes` bytes: the slices' by their own checksums, what lies around them as `around` fills it
// in, from the file's begin to its end.
using FillBytes = std::function<void(std::int64_t offset, Bytes& bytes)>;
std::uint32_t crc32c_of_file(std::int64_t bytes, const std::vector<Slice>& slices, const FillBytes& around);

}  // namespace setrl::store
