#include "tasks/csv_table.h"

#include <algorithm>

#include "base/error.h"

namespace setrl::tasks {

CsvTable::CsvTable(const std::string& path, const std::vector<std::string>& columns) : file_(path), columns_(columns) {
  const std::string_view text = file_.text();
  std::size_t offset = text.substr(0, 3) == "\xEF\xBB\xBF" ? 3 : 0;
  std::int64_t line = 1;
  if (offset >= text.size()) throw_user_error("{}: is empty; a header line is needed", path);
  const auto header = split(offset, line);
  for (const auto& column : columns_) {
    const auto found = std::find(header.begin(), header.end(), column);
    if (found == header.end()) throw_user_error("{}: line 1: the header has no column {}", path, column);
    position_.push_back(static_cast<std::size_t>(found - header.begin()));
  }
  while (offset < text.size()) {
    const Start start{offset, line};
    const auto fields = split(offset, line);
    if (fields.size() == 1 && fields[0].empty()) continue;  // blank line
    if (fields.size() != header.size()) {
      throw_user_error("{}: line {}: {} fields where the header has {}", path, start.line, fields.size(),
                       header.size());
    }
    rows_.push_back(start);
  }
}

// Reads one record from `offset` and moves `offset` and `line` behind it.
std::vector<std::string> CsvTable::split(std::size_t& offset, std::int64_t& line) const {
  const std::string_view text = file_.text();
  const std::int64_t first_line = line;
  std::vector<std::string> fields(1);
  bool quoted = false;
  bool was_quoted = false;  // the current field began with a quote, which is closed now
  while (offset < text.size()) {
    const char c = text[offset++];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (offset < text.size() && text[offset] == '"') {
        fields.back() += '"';
        ++offset;
      } else {
        quoted = false;
        was_quoted = true;
      }
    } else if (c == ',') {
      fields.emplace_back();
      was_quoted = false;
    } else if (c == '\n') {
      return fields;
    } else if (c == '\r' && (offset == text.size() || text[offset] == '\n')) {
      continue;
    } else if (c == '"' && fields.back().empty() && !was_quoted) {
      quoted = true;
    } else if (was_quoted) {
      throw_user_error("{}: line {}, field {}: text after the closing quote", file_.path(), line, fields.size());
    } else {
      fields.back() += c;
    }
  }
  if (quoted) {
    throw_user_error("{}: line {}, field {}: the quoted field is not closed", file_.path(), first_line, fields.size());
  }
  return fields;
}

std::vector<std::string> CsvTable::row(std::int64_t index) const {
  Start start = rows_.at(static_cast<std::size_t>(index));
  auto fields = split(start.offset, start.line);
  std::vector<std::string> wanted;
  wanted.reserve(position_.size());
  for (const auto position : position_) wanted.push_back(std::move(fields[position]));
  return wanted;
}

std::string CsvTable::place(std::int64_t index, std::size_t column) const {
  return fmt::format("{}: line {}, column {}", file_.path(), rows_.at(static_cast<std::size_t>(index)).line,
                     columns_.at(column));
}

}  // namespace setrl::tasks
