// Logging with rank and role. One logger a process; thread-safe. Messages go to standard error (rank 0, or warnings of
// any rank) and, once a run directory is known, to logs/rank-NNNN.log.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace setrl::log {

enum class Level { debug, info, warning, error };

// Sets what every later line carries. `rank` < 0 means "not under MPI".
void set_identity(int rank, const std::string& role);

// Lines below `level` are dropped. Accepts debug, info, warning, error; throws UserError on another name.
void set_level(const std::string& level);

// Adds a log file (all levels from debug); the folder must exist. Throws UserError when it cannot be opened.
void open_file(const std::string& path);

void write(Level level, const std::string& message);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace setrl::log
