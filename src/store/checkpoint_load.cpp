#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "store/checkpoint.h"
#include "store/checkpoint_index.h"
#include "store/crc32c.h"
#include "store/manifest.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;

std::string to_string(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// A scalar and one element are the same thing.
bool same_shape(const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& b) {
  const std::vector<std::int64_t> one = {1};
  return (a.empty() ? one : a) == (b.empty() ? one : b);
}

// Reads a whole checkpoint's tensors. Nothing is believed before its checksum was verified: DONE by its own, index.h5
// by DONE, each block of a rank file by the index. HDF5 never parses a rank file here; the data are read at the offsets
// that the index gives.
class Reader {
 public:
  explicit Reader(const std::string& folder) : folder_(folder), manifest_(read_manifest(folder)) {
    const std::string path = (fs::path(folder) / kIndexName).string();
    const ManifestEntry& entry = manifest_.files.front();
    const Bytes image = read_whole_file(path);
    if (static_cast<std::int64_t>(image.size()) != entry.bytes || crc32c(image.data(), image.size()) != entry.crc32c) {
      throw_user_error("{}: the file is damaged or cut off: size or checksum differ from {}", path, kManifestName);
    }
    index_ = read_index(image, path);
    for (std::size_t t = 0; t < index_.tensors.size(); ++t) place_[index_.tensors[t].entry.name] = t;
  }

  const CheckpointIndex& index() const { return index_; }

  const IndexedTensor& find(const std::string& name) const {
    const auto found = place_.find(name);
    if (found == place_.end()) throw_user_error("{}: the checkpoint has no tensor {}", folder_, name);
    return index_.tensors[found->second];
  }

  // Elements [begin, end) of the flattened tensor.
  void read(const IndexedTensor& tensor, std::int64_t begin, std::int64_t end, float* out) {
    for (const auto& indexed : tensor.slices) {
      const std::int64_t from = std::max(begin, indexed.slice.begin);
      const std::int64_t to = std::min(end, indexed.slice.end);
      if (from < to) read_slice(indexed, from, to, out + (from - begin));
    }
  }

 private:
  void read_slice(const IndexedSlice& indexed, std::int64_t from, std::int64_t to, float* out) {
    const Slice& slice = indexed.slice;
    const File& file = rank_file(indexed.rank);
    const std::int64_t first = (from - slice.begin) / kBlockElements;
    const std::int64_t last = (to - slice.begin - 1) / kBlockElements;
    for (std::int64_t block = first; block <= last; ++block) {
      const std::int64_t begin = slice.begin + block * kBlockElements;
      const std::int64_t end = std::min(begin + kBlockElements, slice.end);
      const bool wanted_whole = begin >= from && end <= to;
      if (!wanted_whole) scratch_.resize(static_cast<std::size_t>(kBlockElements));
      float* target = wanted_whole ? out + (begin - from) : scratch_.data();
      read_block(file, slice, block, static_cast<std::size_t>(end - begin), target);
      if (!wanted_whole) {
        const std::int64_t part_begin = std::max(begin, from);
        const std::int64_t part_end = std::min(end, to);
        std::copy(target + (part_begin - begin), target + (part_end - begin), out + (part_begin - from));
      }
    }
  }

  static void read_block(const File& file, const Slice& slice, std::int64_t block, std::size_t elements, float* out) {
    const std::int64_t offset = slice.offset + block * kBlockBytes;
    const std::size_t bytes = elements * sizeof(float);
    file.read_at(offset, out, bytes);
    if (crc32c(out, bytes) != slice.block_crc32c[static_cast<std::size_t>(block)]) {
      throw_user_error("{}: bytes {} to {} (tensor {}) are damaged: their checksum differs from the index", file.path(),
                       offset, offset + static_cast<std::int64_t>(bytes) - 1, slice.tensor);
    }
  }

  const File& rank_file(int rank) {
    const auto found = open_files_.find(rank);
    if (found != open_files_.end()) return found->second;
    const std::string& name = index_.rank_files[static_cast<std::size_t>(rank)];
    const auto entry = std::find_if(manifest_.files.begin(), manifest_.files.end(),
                                    [&](const ManifestEntry& e) { return e.name == name; });
    if (entry == manifest_.files.end()) throw_user_error("{}: {} does not name {}", folder_, kManifestName, name);
    verify_entry(folder_, *entry, false);
    return open_files_.emplace(rank, File::open((fs::path(folder_) / name).string())).first->second;
  }

  std::string folder_;
  Manifest manifest_;
  CheckpointIndex index_;
  std::map<std::string, std::size_t> place_;
  std::map<int, File> open_files_;
  std::vector<float> scratch_;
};

}  // namespace

CheckpointInfo read_checkpoint_info(const std::string& folder) {
  return Reader(folder).index().info;
}

std::vector<TensorEntry> list_tensors(const std::string& folder) {
  const Reader reader(folder);
  std::vector<TensorEntry> entries;
  for (const auto& tensor : reader.index().tensors) entries.push_back(tensor.entry);
  return entries;
}

void load_checkpoint(const std::string& folder, const std::vector<TensorView>& tensors) {
  Reader reader(folder);
  for (const auto& view : tensors) {
    SETRL_CHECK(view.dtype == DType::float32, "{}: checkpoints hold float32", view.name);
    const IndexedTensor& tensor = reader.find(view.name);
    if (!same_shape(tensor.entry.shape, view.shape)) {
      throw_user_error("{}: {} has shape {} in the checkpoint, {} in this model", folder, view.name,
                       to_string(tensor.entry.shape), to_string(view.shape));
    }
    SETRL_CHECK(view.begin >= 0 && view.begin <= view.end && view.end <= view.elements(), "{}: slice [{}, {})",
                view.name, view.begin, view.end);
    reader.read(tensor, view.begin, view.end, static_cast<float*>(view.data));
  }
}

void read_tensor(const std::string& folder, const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
  Reader reader(folder);
  const IndexedTensor& tensor = reader.find(name);
  const std::int64_t elements = tensor.slices.empty() ? 0 : tensor.slices.back().slice.end;
  if (begin < 0 || begin > end || end > elements) {
    throw_user_error("{}: {} has {} elements; [{}, {}) was asked for", folder, name, elements, begin, end);
  }
  reader.read(tensor, begin, end, out);
}

}  // namespace setrl::store
