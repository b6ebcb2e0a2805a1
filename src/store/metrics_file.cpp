#include "store/metrics_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "store/crc32c.h"

namespace setrl::store {

MetricsFile::MetricsFile(const std::string& path) : file_(File::append_to(path)) {
  const Bytes bytes = read_whole_file(path);
  const auto last_end = std::find(bytes.rbegin(), bytes.rend(), static_cast<std::uint8_t>('\n'));
  const auto whole = static_cast<std::int64_t>(bytes.rend() - last_end);
  if (whole == static_cast<std::int64_t>(bytes.size())) return;
  log::warning("{}: the last line is cut off; it is removed", path);
  file_.truncate(whole);
}

void MetricsFile::append(const std::string& json) {
  SETRL_CHECK(json.find('\n') == std::string::npos, "a line of {} has a line break", file_.path());
  const std::string line = json + "\n";
  const std::int64_t before = file_.size();
  try {
    file_.write(line.data(), line.size());
  } catch (const UserError&) {
    file_.truncate(before);
    throw;
  }
}

MetricsFile::Fingerprint MetricsFile::fingerprint() const {
  const Bytes bytes = read_whole_file(file_.path());
  return {static_cast<std::int64_t>(bytes.size()), crc32c(bytes.data(), bytes.size())};
}

void MetricsFile::truncate_after(std::int64_t step) {
  const Bytes bytes = read_whole_file(file_.path());
  auto begin = bytes.begin();
  while (begin != bytes.end()) {
    const auto end = std::find(begin, bytes.end(), static_cast<std::uint8_t>('\n'));
    const auto line = nlohmann::json::parse(begin, end, nullptr, false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) {
      log::warning("{}: the line at byte {} is no object with a step", file_.path(), begin - bytes.begin());
    } else if (line["step"].get<std::int64_t>() > step) {
      file_.truncate(begin - bytes.begin());
      return;
    }
    begin = end == bytes.end() ? end : end + 1;
  }
}

}  // namespace setrl::store
