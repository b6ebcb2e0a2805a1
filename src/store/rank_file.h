// One learner rank's part of a checkpoint, rank-NNNN.h5: a contiguous 1-D float32 dataset for every slice.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "records/tensor_view.h"
#include "store/durable_file.h"
#include "store/manifest.h"

namespace setrl::store {

// Slices are checksummed in blocks of this many bytes, counted from the slice's begin; the last may be shorter. So a
// reader of a part verifies what it reads and little more.
constexpr std::int64_t kBlockBytes = 1024 * 1024;
constexpr std::int64_t kBlockElements = kBlockBytes / 4;

// Elements [begin, end) of a flattened tensor, as they lie in a rank file.
struct Slice {
  std::string tensor;
  std::vector<std::int64_t> shape;  // of the whole tensor
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t offset = 0;                  // of its first byte in the file; 0 where empty
  std::uint32_t crc32c = 0;                 // of its bytes
  std::vector<std::uint32_t> block_crc32c;  // of its blocks
};

struct RankFile {
  std::string name;  // rank-0000.h5
  std::int64_t bytes = 0;
  std::uint32_t crc32c = 0;  // of the whole file
  std::vector<Slice> slices;
  std::vector<ManifestEntry> beside;  // what else the rank wrote for the checkpoint: in-flight-0000.h5
};

std::string rank_file_name(int rank);

// Writes FOLDER/rank-NNNN.h5 and fsyncs it. An empty slice is listed but has no dataset. Large slices go to the disk
// directly where their memory begins on a page (StagedCopy). Throws UserError where the disk is full or the folder is
// not writable. `pause` is called after every kPauseBytes or little more, with all of them on their way to the disk and
// those before on it: so neither it nor the last fsync comes late. What it throws passes.
constexpr std::int64_t kPauseBytes = 32 * kBlockBytes;
RankFile write_rank_file(const std::string& folder, int rank, std::int64_t step, const std::vector<TensorView>& tensors,
                         const std::function<void()>& pause);

// For the exchange between ranks.
Bytes encode(const RankFile& file);
RankFile decode_rank_file(const Bytes& bytes);

}  // namespace setrl::store
