// index.h5: what a checkpoint holds, where each slice lies, and every tensor whole as an HDF5 virtual dataset.
// docs/checkpoint_format.md describes every dataset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/checkpoint.h"
#include "store/durable_file.h"
#include "store/rank_file.h"

namespace setrl::store {

struct IndexedSlice {
  int rank = 0;  // place in rank_files
  Slice slice;
};

struct IndexedTensor {
  TensorEntry entry;
  std::vector<IndexedSlice> slices;  // not empty ones, ascending; together [0, elements)
};

struct CheckpointIndex {
  CheckpointInfo info;
  std::vector<IndexedTensor> tensors;   // in the learner's order
  std::vector<std::string> rank_files;  // one a rank, or the shared one
};

// Joins the slices of all files. Throws BugError where they overlap, leave gaps or disagree on a shape.
CheckpointIndex make_index(const CheckpointInfo& info, const std::vector<RankFile>& files);

// The HDF5 file's bytes.
Bytes to_image(const CheckpointIndex& index);

// `image`: bytes with a verified checksum. `path` for messages. Throws UserError.
CheckpointIndex read_index(const Bytes& image, const std::string& path);

}  // namespace setrl::store
