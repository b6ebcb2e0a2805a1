#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>

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

CheckpointIndex verified_index(const std::string& folder, const Manifest& manifest) {
  const std::string path = (fs::path(folder) / kIndexName).string();
  const ManifestEntry& entry = manifest.files.front();
  const Bytes image = read_whole_file(path);
  if (static_cast<std::int64_t>(image.size()) != entry.bytes || crc32c(image.data(), image.size()) != entry.crc32c) {
    throw_user_error("{}: the file is damaged or cut off: size or checksum differ from {}", path, kManifestName);
  }
  return read_index(image, path);
}

void read_block(const File& file, const Slice& slice, std::int64_t block, std::size_t elements, float* out) {
  const std::int64_t offset = slice.offset + block * kBlockBytes;
  const std::size_t bytes = elements * sizeof(float);
  file.read_at(offset, out, bytes);
  if (crc32c(out, bytes) != slice.block_crc32c[static_cast<std::size_t>(block)]) {
    throw_user_error("{}: bytes {} to {} (tensor {}) are damaged: their checksum differs from the index", file.path(),
                     offset, offset + static_cast<std::int64_t>(bytes) - 1, slice.tensor);
  }
}

// Elements [from, to) of the tensor, which lie in this slice.
void read_slice(const File& file, const Slice& slice, std::int64_t from, std::int64_t to, float* out) {
  std::vector<float> scratch;
  const std::int64_t first = (from - slice.begin) / kBlockElements;
  const std::int64_t last = (to - slice.begin - 1) / kBlockElements;
  for (std::int64_t block = first; block <= last; ++block) {
    const std::int64_t begin = slice.begin + block * kBlockElements;
    const std::int64_t end = std::min(begin + kBlockElements, slice.end);
    const auto elements = static_cast<std::size_t>(end - begin);
    if (begin >= from && end <= to) {
      read_block(file, slice, block, elements, out + (begin - from));
      continue;
    }
    // Only a part is wanted; the checksum needs the whole block.
    scratch.resize(elements);
    read_block(file, slice, block, elements, scratch.data());
    const std::int64_t part_begin = std::max(begin, from);
    const std::int64_t part_end = std::min(end, to);
    std::copy(scratch.data() + (part_begin - begin), scratch.data() + (part_end - begin), out + (part_begin - from));
  }
}

}  // namespace

struct CheckpointReader::State {
  std::string folder;
  Manifest manifest;
  CheckpointIndex index;
  std::map<std::string, std::size_t> place;  // tensor name -> index.tensors
  std::mutex mutex;                          // guards open_files; references into it stay valid
  std::map<int, File> open_files;

  const IndexedTensor& find(const std::string& name) const {
    const auto found = place.find(name);
    if (found == place.end()) throw_user_error("{}: the checkpoint has no tensor {}", folder, name);
    return index.tensors[found->second];
  }

  const File& rank_file(int rank) {
    const std::lock_guard lock(mutex);
    const auto found = open_files.find(rank);
    if (found != open_files.end()) return found->second;
    const std::string& name = index.rank_files[static_cast<std::size_t>(rank)];
    const auto entry = std::find_if(manifest.files.begin(), manifest.files.end(),
                                    [&](const ManifestEntry& e) { return e.name == name; });
    if (entry == manifest.files.end()) throw_user_error("{}: {} does not name {}", folder, kManifestName, name);
    verify_entry(folder, *entry, false);
    return open_files.emplace(rank, File::open((fs::path(folder) / name).string())).first->second;
  }

  void read(const IndexedTensor& tensor, std::int64_t begin, std::int64_t end, float* out) {
    for (const auto& [rank, slice] : tensor.slices) {
      const std::int64_t from = std::max(begin, slice.begin);
      const std::int64_t to = std::min(end, slice.end);
      if (from < to) read_slice(rank_file(rank), slice, from, to, out + (from - begin));
    }
  }
};

CheckpointReader::CheckpointReader(const std::string& folder) : state_(std::make_unique<State>()) {
  state_->folder = folder;
  state_->manifest = read_manifest(folder);
  state_->index = verified_index(folder, state_->manifest);
  for (std::size_t t = 0; t < state_->index.tensors.size(); ++t) {
    state_->place[state_->index.tensors[t].entry.name] = t;
  }
}

CheckpointReader::~CheckpointReader() = default;

const CheckpointInfo& CheckpointReader::info() const {
  return state_->index.info;
}

std::vector<TensorEntry> CheckpointReader::tensors() const {
  std::vector<TensorEntry> entries;
  for (const auto& tensor : state_->index.tensors) entries.push_back(tensor.entry);
  return entries;
}

void CheckpointReader::read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const {
  const IndexedTensor& tensor = state_->find(name);
  const std::int64_t elements = tensor.slices.empty() ? 0 : tensor.slices.back().slice.end;
  if (begin < 0 || begin > end || end > elements) {
    throw_user_error("{}: {} has {} elements; [{}, {}) was asked for", state_->folder, name, elements, begin, end);
  }
  state_->read(tensor, begin, end, out);
}

void CheckpointReader::load(const std::vector<TensorView>& tensors) const {
  for (const auto& view : tensors) {
    SETRL_CHECK(view.dtype == DType::float32, "{}: checkpoints hold float32", view.name);
    const IndexedTensor& tensor = state_->find(view.name);
    if (!same_shape(tensor.entry.shape, view.shape)) {
      throw_user_error("{}: {} has shape {} in the checkpoint, {} in this model", state_->folder, view.name,
                       to_string(tensor.entry.shape), to_string(view.shape));
    }
    SETRL_CHECK(view.begin >= 0 && view.begin <= view.end && view.end <= view.elements(), "{}: slice [{}, {})",
                view.name, view.begin, view.end);
    state_->read(tensor, view.begin, view.end, static_cast<float*>(view.data));
  }
}

CheckpointInfo read_checkpoint_info(const std::string& folder) {
  return CheckpointReader(folder).info();
}

std::vector<TensorEntry> list_tensors(const std::string& folder) {
  return CheckpointReader(folder).tensors();
}

void load_checkpoint(const std::string& folder, const std::vector<TensorView>& tensors) {
  CheckpointReader(folder).load(tensors);
}

void read_tensor(const std::string& folder, const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
  CheckpointReader(folder).read(name, begin, end, out);
}

}  // namespace setrl::store
