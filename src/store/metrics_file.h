// metrics.jsonl: one JSON object a line, appended; a resumed run continues it as if it had never stopped.
#pragma once

#include <cstdint>
#include <string>

#include "store/durable_file.h"

namespace setrl::store {

class MetricsFile {
 public:
  // Opens or makes the file; its folder must exist. A last line without its end (the process was killed while it was
  // written) is cut off. Throws UserError naming the path.
  explicit MetricsFile(const std::string& path);

  // Writes one line. `json`: an object without line breaks. Where the disk is full nothing of it stays.
  void append(const std::string& json);

  // Makes what was appended permanent: before a checkpoint that continues from it.
  void sync() { file_.sync(); }

  // Size and CRC-32C of the file as it is.
  struct Fingerprint {
    std::int64_t bytes = 0;
    std::uint32_t crc32c = 0;
  };
  Fingerprint fingerprint() const;

  // Cuts the file before the first line whose "step" is greater than `step`. Lines that are no JSON objects with an
  // integer "step" stay where they are, with a warning.
  void truncate_after(std::int64_t step);

 private:
  File file_;
};

}  // namespace setrl::store
