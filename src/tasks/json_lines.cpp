#include "tasks/json_lines.h"

#include "base/error.h"

namespace setrl::tasks {

void JsonLine::fail(const std::string& problem) const {
  throw_user_error("{}: {}", place_, problem);
}

JsonLines::JsonLines(const std::string& path) : file_(path) {
  const std::string_view text = file_.text();
  std::int64_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    ++number;
    const auto line = text.substr(at, end - at);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines_.push_back({at, line.size(), number});
    at = end + 1;
  }
}

JsonLine JsonLines::line(std::int64_t index) const {
  SETRL_CHECK(index >= 0 && index < size(), "line {} of {} in {}", index, size(), path());
  const Line& line = lines_[static_cast<std::size_t>(index)];
  const std::string place = fmt::format("{}: line {}", path(), line.number);
  try {
    auto object = nlohmann::json::parse(file_.text().substr(line.offset, line.size));
    if (!object.is_object()) throw_user_error("{}: is not a JSON object", place);
    return {place, std::move(object)};
  } catch (const nlohmann::json::parse_error& failure) {
    throw_user_error("{}: is not valid JSON (byte {} of the line)", place, failure.byte);
  }
}

}  // namespace setrl::tasks
