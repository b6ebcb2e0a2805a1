// DONE: the last file of a checkpoint. It names every other file with its size and CRC-32C, and guards itself with a
// checksum line. A checkpoint without a good DONE is not whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl::store {

struct ManifestEntry {
  std::string name;
  std::int64_t bytes = 0;
  std::uint32_t crc32c = 0;
};

struct Manifest {
  std::int64_t step = 0;
  std::vector<ManifestEntry> files;  // index.h5 first, then the rank files by rank
};

constexpr const char* kManifestName = "DONE";
constexpr const char* kIndexName = "index.h5";

std::string to_text(const Manifest& manifest);

// Reads FOLDER/DONE. Throws UserError naming it where it is missing, cut off or changed.
Manifest read_manifest(const std::string& folder);

// Says what is wrong with a checkpoint as far as a quick look tells: DONE, the index's checksum, the sizes of all
// files, the step in the folder's name. Empty where all is well. The content of the rank files is not read.
std::string quick_problem(const std::string& folder);

// Throws UserError unless FOLDER/ENTRY.name has the announced size; with `content`, also unless it has the checksum.
void verify_entry(const std::string& folder, const ManifestEntry& entry, bool content);

}  // namespace setrl::store
