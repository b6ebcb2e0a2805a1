#include "learn/schedule.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace setrl::learn {

double schedule_factor(const std::string& kind, double warmup_fraction, std::int64_t step, std::int64_t total_steps) {
  if (kind != "linear" && kind != "cosine" && kind != "constant") {
    throw_user_error("learn.schedule: '{}' is not one of linear, cosine, constant", kind);
  }
  const double total = static_cast<double>(std::max<std::int64_t>(total_steps, 1));
  const double done = static_cast<double>(std::max<std::int64_t>(step, 1)) - 1;
  const double warmup = std::ceil(warmup_fraction * total);
  if (done < warmup) return (done + 1) / warmup;
  if (kind == "constant") return 1;
  const double progress = std::min(1.0, (done - warmup) / std::max(1.0, total - warmup));
  if (kind == "linear") return 1 - progress;
  return 0.5 * (1 + std::cos(std::acos(-1.0) * progress));
}

}  // namespace setrl::learn
