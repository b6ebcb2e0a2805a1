#include "base/error.h"

namespace setrl::detail {

void fail_check(const char* file, int line, const char* condition, const std::string& message) {
  throw BugError(fmt::format("{}:{}: check failed: {} ({})", file, line, condition, message));
}

}  // namespace setrl::detail
