#include "store/rank_file.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/direct_file.h"
#include "store/file_parts.h"
#include "store/hdf5.h"

namespace setrl::store {

namespace {

using nlohmann::json;

// Writes into the file: directly what lies on whole pages, the rest through the page cache.
class Outflow {
 public:
  Outflow(File& file, const std::function<void()>& pause) : file_(file), direct_(file.path()), pace_(file, pause) {}

  void write_at(std::int64_t offset, const char* data, std::int64_t bytes) {
    const auto direct = static_cast<std::int64_t>(direct_.write_at(offset, data, static_cast<std::size_t>(bytes)));
    if (direct < bytes) {
      file_.write_at(offset + direct, data + direct, static_cast<std::size_t>(bytes - direct));
      pace_.cached(offset + direct, offset + bytes);
    }
    pace_.advance(bytes);
  }

 private:
  File& file_;
  DirectFile direct_;
  Pace pace_;
};

void write_data(Outflow& file, const TensorView& tensor, const Slice& slice) {
  const auto* data = static_cast<const char*>(tensor.data);
  for (std::int64_t at = 0; at < bytes_of(slice); at += kPortionBytes) {
    file.write_at(slice.offset + at, data + at, std::min(kPortionBytes, bytes_of(slice) - at));
  }
}

void note_checksum(hid_t image, const Slice& slice) {
  if (slice.begin == slice.end) return;
  const h5::Handle dataset(H5Dopen2(image, slice.tensor.c_str(), H5P_DEFAULT), H5Dclose, slice.tensor);
  h5::write_attribute(dataset.get(), "crc32c", slice.crc32c);
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
  for (const auto& tensor : tensors) {
    check_slice(tensor);
    slices.push_back(place_slice(image.get(), tensor));
  }
  {
    Checksums checksums(tensors, slices);
    Outflow outflow(file, pause);
    for (std::size_t i = 0; i < slices.size(); ++i) write_data(outflow, tensors[i], slices[i]);
    checksums.finish();
  }
  for (const auto& slice : slices) note_checksum(image.get(), slice);
  const MemoryFile& structure = image.close();
  result.bytes = static_cast<std::int64_t>(structure.size());
  result.crc32c = crc32c_of_file(result.bytes, result.slices, [&](std::int64_t offset, Bytes& gap) {
    structure.read(static_cast<std::uint64_t>(offset), gap.data(), gap.size());
    file.write_at(offset, gap.data(), gap.size());
  });
  file.sync();
  return result;
}

Bytes encode(const RankFile& file) {
  json slices = json::array();
  for (const auto& s : file.slices) {
    slices.push_back({s.tensor, s.shape, s.begin, s.end, s.offset, s.crc32c, s.block_crc32c});
  }
  json beside = json::array();
  for (const auto& entry : file.beside) beside.push_back({entry.name, entry.bytes, entry.crc32c});
  return json::to_cbor(json::array({file.name, file.bytes, file.crc32c, slices, beside}));
}

RankFile decode_rank_file(const Bytes& bytes) {
  const json value = json::from_cbor(bytes);
  RankFile file{
      value.at(0).get<std::string>(), value.at(1).get<std::int64_t>(), value.at(2).get<std::uint32_t>(), {}, {}};
  for (const auto& s : value.at(3)) {
    file.slices.push_back({s.at(0).get<std::string>(), s.at(1).get<std::vector<std::int64_t>>(),
                           s.at(2).get<std::int64_t>(), s.at(3).get<std::int64_t>(), s.at(4).get<std::int64_t>(),
                           s.at(5).get<std::uint32_t>(), s.at(6).get<std::vector<std::uint32_t>>()});
  }
  for (const auto& entry : value.at(4)) {
    file.beside.push_back(
        {entry.at(0).get<std::string>(), entry.at(1).get<std::int64_t>(), entry.at(2).get<std::uint32_t>()});
  }
  return file;
}

}  // namespace setrl::store
