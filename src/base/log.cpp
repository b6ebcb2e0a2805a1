#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "base/error.h"

namespace setrl::log {

namespace {

struct State {
  int rank = -1;
  std::string role;
  spdlog::level::level_enum level = spdlog::level::info;
  std::shared_ptr<spdlog::sinks::stderr_color_sink_mt> terminal =
      std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  std::shared_ptr<spdlog::logger> logger = std::make_shared<spdlog::logger>("setrl", terminal);

  State() {
    logger->set_level(spdlog::level::debug);
    logger->flush_on(spdlog::level::info);
    apply();
  }

  void apply() {
    // Ranks other than 0 are silent on the terminal unless something is wrong.
    terminal->set_level(rank > 0 ? std::max(level, spdlog::level::warn) : level);
    const std::string identity = rank < 0 ? "" : fmt::format("[rank {}{}{}] ", rank, role.empty() ? "" : " ", role);
    logger->set_pattern("%H:%M:%S %^%l%$ " + identity + "%v");
  }
};

State& state() {
  static State instance;
  return instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warning: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

void set_identity(int rank, const std::string& role) {
  state().rank = rank;
  state().role = role;
  state().apply();
}

void set_level(const std::string& level) {
  if (level == "debug")
    state().level = spdlog::level::debug;
  else if (level == "info")
    state().level = spdlog::level::info;
  else if (level == "warning")
    state().level = spdlog::level::warn;
  else if (level == "error")
    state().level = spdlog::level::err;
  else
    throw_user_error("log level '{}' is not one of debug, info, warning, error", level);
  state().apply();
}

void open_file(const std::string& path) {
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    file->set_level(spdlog::level::debug);
    state().logger->sinks().push_back(file);
  } catch (const spdlog::spdlog_ex& failure) {
    throw_user_error("cannot write the log file {}: {}", path, failure.what());
  }
  state().apply();
}

void write(Level level, const std::string& message) {
  state().logger->log(to_spdlog(level), message);
}

}  // namespace setrl::log
