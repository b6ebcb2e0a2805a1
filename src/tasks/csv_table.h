// A CSV file with a header (RFC 4180: fields may be quoted, quotes in them doubled, line breaks in them kept).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tasks/file_view.h"

namespace setrl::tasks {

// Keeps the mapped file and where its rows begin; fields are read on demand.
class CsvTable {
 public:
  // Indexes the rows. Throws UserError naming file and line where a column is missing from the header, a quoted field
  // is not closed, or a row has another number of fields than the header.
  CsvTable(const std::string& path, const std::vector<std::string>& columns);

  std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }
  // The fields of a row in the order of `columns`, unquoted.
  std::vector<std::string> row(std::int64_t index) const;
  // "FILE: line 12, column AGE": for messages about a field's content. `column` counts in the order of `columns`.
  std::string place(std::int64_t index, std::size_t column) const;

 private:
  struct Start {
    std::size_t offset;
    std::int64_t line;  // from 1
  };
  std::vector<std::string> split(std::size_t& offset, std::int64_t& line) const;

  FileView file_;
  std::vector<std::string> columns_;
  std::vector<std::size_t> position_;  // of each wanted column in the file's header
  std::vector<Start> rows_;
};

}  // namespace setrl::tasks
