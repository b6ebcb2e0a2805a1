// Errors and checks. A check has no side effects and works in release builds.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace setrl {

// The user can repair it (option, file, data): the message says what to change. The program ends with exit code 2.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One of our own invariants broke. The program ends with exit code 3.
class BugError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Exit codes of the command line (stable).
enum ExitCode { kExitDone = 0, kExitUserError = 2, kExitInternalError = 3, kExitResumable = 75 };

template <typename... Args>
[[noreturn]] void throw_user_error(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

namespace detail {
[[noreturn]] void fail_check(const char* file, int line, const char* condition, const std::string& message);
}  // namespace detail

}  // namespace setrl

// Throws BugError naming file, line, condition and a formatted message unless `condition` holds.
#define SETRL_CHECK(condition, ...)                                                            \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      ::setrl::detail::fail_check(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
    }                                                                                          \
  } while (false)
