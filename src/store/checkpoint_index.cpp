#include "store/checkpoint_index.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <numeric>

#include "base/error.h"
#include "store/hdf5.h"
#include "store/hyperslab.h"

namespace setrl::store {

namespace {

constexpr std::int64_t kSchemaVersion = 1;

std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1},
                         [](std::int64_t a, std::int64_t b) { return a * b; });
}

// Every slice of every tensor in one set of columns.
struct SliceTable {
  std::vector<std::int32_t> tensor, rank;
  std::vector<std::int64_t> begin, end, offset, block_offsets = {0};
  std::vector<std::uint32_t> crc32c, block_crc32c;
};

SliceTable table_of(const CheckpointIndex& index) {
  SliceTable table;
  for (std::size_t t = 0; t < index.tensors.size(); ++t) {
    for (const auto& [rank, slice] : index.tensors[t].slices) {
      table.tensor.push_back(static_cast<std::int32_t>(t));
      table.rank.push_back(rank);
      table.begin.push_back(slice.begin);
      table.end.push_back(slice.end);
      table.offset.push_back(slice.offset);
      table.crc32c.push_back(slice.crc32c);
      table.block_crc32c.insert(table.block_crc32c.end(), slice.block_crc32c.begin(), slice.block_crc32c.end());
      table.block_offsets.push_back(static_cast<std::int64_t>(table.block_crc32c.size()));
    }
  }
  return table;
}

void write_slices(hid_t file, const SliceTable& table) {
  h5::write_array(file, "slices/tensor", table.tensor);
  h5::write_array(file, "slices/rank", table.rank);
  h5::write_array(file, "slices/begin", table.begin);
  h5::write_array(file, "slices/end", table.end);
  h5::write_array(file, "slices/offset", table.offset);
  h5::write_array(file, "slices/crc32c", table.crc32c);
  h5::write_array(file, "slices/block_offsets", table.block_offsets);
  h5::write_array(file, "slices/block_crc32c", table.block_crc32c);
}

SliceTable read_slices(hid_t file) {
  SliceTable table;
  table.tensor = h5::read_array<std::int32_t>(file, "slices/tensor");
  table.rank = h5::read_array<std::int32_t>(file, "slices/rank");
  table.begin = h5::read_array<std::int64_t>(file, "slices/begin");
  table.end = h5::read_array<std::int64_t>(file, "slices/end");
  table.offset = h5::read_array<std::int64_t>(file, "slices/offset");
  table.crc32c = h5::read_array<std::uint32_t>(file, "slices/crc32c");
  table.block_offsets = h5::read_array<std::int64_t>(file, "slices/block_offsets");
  table.block_crc32c = h5::read_array<std::uint32_t>(file, "slices/block_crc32c");
  return table;
}

// The tensor in its logical shape, its slices mapped to their datasets in rank files of the same folder. What is
// missing reads as NaN, so that it cannot pass for weights.
void write_virtual(hid_t file, const IndexedTensor& tensor, const std::vector<std::string>& rank_files) {
  const std::string& name = tensor.entry.name;
  std::vector<std::int64_t> shape = tensor.entry.shape;
  if (shape.empty()) shape = {1};  // HDF5 has no virtual scalars
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  const h5::Handle space = h5::dataspace(extents);
  const h5::Handle creation = h5::dataset_creation();
  const float missing = std::numeric_limits<float>::quiet_NaN();
  h5::check(H5Pset_fill_value(creation.get(), H5T_NATIVE_FLOAT, &missing), name);
  for (auto first = tensor.slices.begin(); first != tensor.slices.end();) {
    // Slices that one file has of a tensor lie in one dataset of it, side by side.
    const int rank = first->rank;
    const auto last = std::find_if(first, tensor.slices.end(), [&](const IndexedSlice& s) { return s.rank != rank; });
    const std::int64_t begin = first->slice.begin, end = std::prev(last)->slice.end;
    first = last;
    const h5::Handle source = h5::dataspace({static_cast<hsize_t>(end - begin)});
    hsize_t at = 0;
    for (const auto& box : boxes_of_range(shape, begin, end)) {
      const std::vector<hsize_t> start(box.start.begin(), box.start.end());
      const std::vector<hsize_t> count(box.count.begin(), box.count.end());
      const hsize_t size =
          std::accumulate(count.begin(), count.end(), hsize_t{1}, [](hsize_t a, hsize_t b) { return a * b; });
      h5::check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr), name);
      h5::check(H5Sselect_hyperslab(source.get(), H5S_SELECT_SET, &at, nullptr, &size, nullptr), name);
      h5::check(H5Pset_virtual(creation.get(), space.get(), rank_files[static_cast<std::size_t>(rank)].c_str(),
                               ("/" + name).c_str(), source.get()),
                name);
      at += size;
    }
  }
  h5::make_parents(file, name);
  const h5::Handle links = h5::link_creation();
  const h5::Handle whole = h5::dataspace(extents);
  const h5::Handle dataset(
      H5Dcreate2(file, name.c_str(), H5T_NATIVE_FLOAT, whole.get(), links.get(), creation.get(), H5P_DEFAULT), H5Dclose,
      name);
}

void write_info(hid_t file, const CheckpointInfo& info) {
  h5::write_attribute(file, "format", std::string("SetRL checkpoint"));
  h5::write_attribute(file, "writer", std::string("SetRL"));
  h5::write_attribute(file, "schema_version", kSchemaVersion);
  h5::write_attribute(file, "step", info.step);
  h5::write_attribute(file, "policy_version", info.policy_version);
  h5::write_attribute(file, "optimizer_steps", info.optimizer_steps);
  h5::write_attribute(file, "config_hash", info.config_hash);
  h5::write_string(file, "info/config", info.config);
  h5::write_string(file, "info/model_config", info.model_config);
  h5::write_string(file, "info/extra", info.extra);
  std::vector<std::string> names;
  std::vector<std::int64_t> offsets = {0};
  Bytes contents;
  for (const auto& [name, content] : info.files) {
    names.push_back(name);
    contents.insert(contents.end(), content.begin(), content.end());
    offsets.push_back(static_cast<std::int64_t>(contents.size()));
  }
  h5::write_strings(file, "info/file_names", names);
  h5::write_array(file, "info/file_offsets", offsets);
  h5::write_array(file, "info/file_bytes", contents);
}

void expect(bool condition, const char* what) {
  if (!condition) throw_user_error("{} does not fit the rest of the index", what);
}

CheckpointInfo read_info(hid_t file) {
  CheckpointInfo info;
  info.schema_version = h5::read_integer_attribute(file, "schema_version");
  if (info.schema_version < 1 || info.schema_version > kSchemaVersion) {
    throw_user_error("schema version {} is unknown to this program, which reads up to {}", info.schema_version,
                     kSchemaVersion);
  }
  info.step = h5::read_integer_attribute(file, "step");
  info.policy_version = h5::read_integer_attribute(file, "policy_version");
  info.optimizer_steps = h5::read_integer_attribute(file, "optimizer_steps");
  info.config_hash = h5::read_string_attribute(file, "config_hash");
  info.config = h5::read_string(file, "info/config");
  info.model_config = h5::read_string(file, "info/model_config");
  info.extra = h5::read_string(file, "info/extra");
  const auto names = h5::read_strings(file, "info/file_names");
  const auto offsets = h5::read_array<std::int64_t>(file, "info/file_offsets");
  const auto contents = h5::read_array<std::uint8_t>(file, "info/file_bytes");
  expect(offsets.size() == names.size() + 1 && offsets.back() == static_cast<std::int64_t>(contents.size()),
         "info/file_offsets");
  for (std::size_t i = 0; i < names.size(); ++i) {
    expect(offsets[i] >= 0 && offsets[i] <= offsets[i + 1], "info/file_offsets");
    info.files.emplace_back(names[i], std::string(contents.begin() + offsets[i], contents.begin() + offsets[i + 1]));
  }
  return info;
}

void write_tensor_list(hid_t file, const CheckpointIndex& index) {
  std::vector<std::string> names;
  std::vector<std::int64_t> shapes, offsets = {0};
  for (const auto& tensor : index.tensors) {
    names.push_back(tensor.entry.name);
    shapes.insert(shapes.end(), tensor.entry.shape.begin(), tensor.entry.shape.end());
    offsets.push_back(static_cast<std::int64_t>(shapes.size()));
  }
  h5::write_strings(file, "info/tensor_names", names);
  h5::write_array(file, "info/tensor_shapes", shapes);
  h5::write_array(file, "info/tensor_shape_offsets", offsets);
  h5::write_strings(file, "info/rank_files", index.rank_files);
}

void read_tensor_list(hid_t file, CheckpointIndex& index) {
  const auto names = h5::read_strings(file, "info/tensor_names");
  const auto shapes = h5::read_array<std::int64_t>(file, "info/tensor_shapes");
  const auto offsets = h5::read_array<std::int64_t>(file, "info/tensor_shape_offsets");
  expect(offsets.size() == names.size() + 1 && offsets.back() == static_cast<std::int64_t>(shapes.size()),
         "info/tensor_shape_offsets");
  for (std::size_t i = 0; i < names.size(); ++i) {
    expect(offsets[i] >= 0 && offsets[i] <= offsets[i + 1], "info/tensor_shape_offsets");
    index.tensors.push_back({{names[i], {shapes.begin() + offsets[i], shapes.begin() + offsets[i + 1]}}, {}});
  }
  index.rank_files = h5::read_strings(file, "info/rank_files");
}

void attach_slices(const SliceTable& table, CheckpointIndex& index) {
  const std::size_t count = table.tensor.size();
  expect(table.rank.size() == count && table.begin.size() == count && table.end.size() == count &&
             table.offset.size() == count && table.crc32c.size() == count && table.block_offsets.size() == count + 1,
         "slices");
  for (std::size_t i = 0; i < count; ++i) {
    const auto t = static_cast<std::size_t>(table.tensor[i]);
    expect(t < index.tensors.size(), "slices/tensor");
    expect(static_cast<std::size_t>(table.rank[i]) < index.rank_files.size(), "slices/rank");
    IndexedTensor& tensor = index.tensors[t];
    const std::int64_t expected_begin = tensor.slices.empty() ? 0 : tensor.slices.back().slice.end;
    const std::int64_t blocks = (table.end[i] - table.begin[i] + kBlockElements - 1) / kBlockElements;
    const std::int64_t first = table.block_offsets[i], last = table.block_offsets[i + 1];
    expect(table.begin[i] == expected_begin && table.end[i] > table.begin[i] && table.offset[i] > 0, "slices/begin");
    expect(first >= 0 && last - first == blocks && last <= static_cast<std::int64_t>(table.block_crc32c.size()),
           "slices/block_offsets");
    Slice slice{
        tensor.entry.name, tensor.entry.shape, table.begin[i], table.end[i], table.offset[i], table.crc32c[i], {}};
    slice.block_crc32c.assign(table.block_crc32c.begin() + first, table.block_crc32c.begin() + last);
    tensor.slices.push_back({table.rank[i], std::move(slice)});
  }
  for (const auto& tensor : index.tensors) {
    const std::int64_t covered = tensor.slices.empty() ? 0 : tensor.slices.back().slice.end;
    expect(covered == elements_of(tensor.entry.shape), tensor.entry.name.c_str());
  }
}

}  // namespace

CheckpointIndex make_index(const CheckpointInfo& info, const std::vector<RankFile>& files) {
  CheckpointIndex index;
  index.info = info;
  std::map<std::string, std::size_t> place;
  for (std::size_t rank = 0; rank < files.size(); ++rank) {
    index.rank_files.push_back(files[rank].name);
    for (const auto& slice : files[rank].slices) {
      const auto [found, is_new] = place.emplace(slice.tensor, index.tensors.size());
      if (is_new) index.tensors.push_back({{slice.tensor, slice.shape}, {}});
      IndexedTensor& tensor = index.tensors[found->second];
      SETRL_CHECK(tensor.entry.shape == slice.shape, "{}: rank {} has another shape", slice.tensor, rank);
      if (slice.begin != slice.end) tensor.slices.push_back({static_cast<int>(rank), slice});
    }
  }
  for (auto& tensor : index.tensors) {
    std::sort(tensor.slices.begin(), tensor.slices.end(),
              [](const IndexedSlice& a, const IndexedSlice& b) { return a.slice.begin < b.slice.begin; });
    std::int64_t covered = 0;
    for (const auto& [rank, slice] : tensor.slices) {
      SETRL_CHECK(slice.begin == covered, "{}: the slice of rank {} begins at {}, expected {}", slice.tensor, rank,
                  slice.begin, covered);
      covered = slice.end;
    }
    SETRL_CHECK(covered == elements_of(tensor.entry.shape), "{}: the slices end at {} of {}", tensor.entry.name,
                covered, elements_of(tensor.entry.shape));
  }
  return index;
}

Bytes to_image(const CheckpointIndex& index) {
  h5::Image file(0);
  h5::make_group(file.get(), "info");
  h5::make_group(file.get(), "slices");
  write_info(file.get(), index.info);
  write_tensor_list(file.get(), index);
  write_slices(file.get(), table_of(index));
  for (const auto& tensor : index.tensors) write_virtual(file.get(), tensor, index.rank_files);
  return file.close().bytes();
}

CheckpointIndex read_index(const Bytes& image, const std::string& path) {
  try {
    const h5::Handle file = h5::open_image(image, path);
    CheckpointIndex index;
    index.info = read_info(file.get());
    read_tensor_list(file.get(), index);
    attach_slices(read_slices(file.get()), index);
    return index;
  } catch (const UserError& error) {
    throw_user_error("{}: {}", path, error.what());
  }
}

}  // namespace setrl::store
