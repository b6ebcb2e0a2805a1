#include "store/manifest.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/checkpoint_folders.h"
#include "store/crc32c.h"
#include "store/durable_file.h"

namespace setrl::store {

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string hex(std::uint32_t crc) {
  return fmt::format("{:08x}", crc);
}

// The last line: the checksum of everything before it.
std::string seal(const std::string& body) {
  return "crc32c " + hex(crc32c(body.data(), body.size())) + "\n";
}

}  // namespace

std::string to_text(const Manifest& manifest) {
  json files = json::array();
  for (const auto& entry : manifest.files) {
    files.push_back({{"name", entry.name}, {"bytes", entry.bytes}, {"crc32c", hex(entry.crc32c)}});
  }
  const json value = {{"format", "SetRL checkpoint"}, {"schema_version", 1}, {"step", manifest.step}, {"files", files}};
  const std::string body = value.dump(1) + "\n";
  return body + seal(body);
}

Manifest read_manifest(const std::string& folder) {
  const std::string path = (fs::path(folder) / kManifestName).string();
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw_user_error("{}: not a whole checkpoint: it has no {} file", folder, kManifestName);
  }
  const Bytes bytes = read_whole_file(path);
  const std::string text(bytes.begin(), bytes.end());
  const auto last_line = text.size() < 2 ? std::string::npos : text.rfind('\n', text.size() - 2);
  const std::string body = last_line == std::string::npos ? "" : text.substr(0, last_line + 1);
  if (body.empty() || body + seal(body) != text) throw_user_error("{}: the file is damaged or cut off", path);
  try {
    const json value = json::parse(body);
    const auto version = value.at("schema_version").get<std::int64_t>();
    if (version != 1) throw_user_error("{}: schema version {} is unknown to this program", path, version);
    Manifest manifest;
    manifest.step = value.at("step").get<std::int64_t>();
    for (const auto& entry : value.at("files")) {
      manifest.files.push_back(
          {entry.at("name").get<std::string>(), entry.at("bytes").get<std::int64_t>(),
           static_cast<std::uint32_t>(std::stoul(entry.at("crc32c").get<std::string>(), nullptr, 16))});
    }
    if (manifest.files.empty() || manifest.files.front().name != kIndexName) {
      throw_user_error("{}: does not begin with {}", path, kIndexName);
    }
    return manifest;
  } catch (const json::exception& problem) {
    throw_user_error("{}: {}", path, problem.what());
  }
}

void verify_entry(const std::string& folder, const ManifestEntry& entry, bool content) {
  const File file = File::open((fs::path(folder) / entry.name).string());
  const std::int64_t size = file.size();
  if (size != entry.bytes) {
    throw_user_error("{}: has {} bytes, {} were written", file.path(), size, entry.bytes);
  }
  if (!content) return;
  Bytes block(1024 * 1024);
  std::uint32_t crc = 0;
  for (std::int64_t at = 0; at < size;) {
    const auto count =
        static_cast<std::size_t>(std::min<std::int64_t>(size - at, static_cast<std::int64_t>(block.size())));
    file.read_at(at, block.data(), count);
    crc = crc32c(block.data(), count, crc);
    at += static_cast<std::int64_t>(count);
  }
  if (crc != entry.crc32c) {
    throw_user_error("{}: its checksum is {}, {} was written: damaged, or a file of another checkpoint", file.path(),
                     hex(crc), hex(entry.crc32c));
  }
}

std::string quick_problem(const std::string& folder) {
  try {
    const Manifest manifest = read_manifest(folder);
    const auto named = step_of_folder(folder);
    if (named && *named != manifest.step) {
      return fmt::format("{}: {} is of step {}: mixed up", folder, kManifestName, manifest.step);
    }
    for (const auto& entry : manifest.files) verify_entry(folder, entry, entry.name == kIndexName);
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

}  // namespace setrl::store
