#include "roles/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace setrl::roles {

std::string format_duration(double seconds) {
  const auto total = static_cast<std::int64_t>(seconds + 0.5);
  const auto hours = total / 3600, minutes = total / 60 % 60, rest = total % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, rest) : fmt::format("{}:{:02}", minutes, rest);
}

Progress::Progress(std::string title, std::int64_t first, std::int64_t last)
    : title_(std::move(title)), first_(first), last_(last), terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (drawn_) std::fputc('\n', stderr);
}

void Progress::step(std::int64_t step, const std::string& text) {
  const auto done = static_cast<double>(step - first_ + 1);
  const double left = clock_.seconds() / done * static_cast<double>(last_ - step);
  const std::string tail = fmt::format("{}  left {}", text, format_duration(left));
  if (!terminal_) {
    fmt::print(stderr, "{} {}/{}  {}\n", title_, step, last_, tail);
    return;
  }
  constexpr int kWidth = 20;
  const auto filled =
      static_cast<int>(kWidth * std::clamp(static_cast<double>(step) / static_cast<double>(last_), 0.0, 1.0));
  fmt::print(stderr, "\r\033[K{} [{}{}] {}/{}  {}", title_, std::string(filled, '#'), std::string(kWidth - filled, '.'),
             step, last_, tail);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::clear() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
  drawn_ = false;
}

}  // namespace setrl::roles
