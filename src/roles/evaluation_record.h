// The evaluations of a run so far, of which the first, the best and the last are kept. Goes into checkpoints, so that a
// continued run still knows them. Root only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "evaluate/metrics.h"

namespace setrl::roles {

using Intervals = std::map<std::string, evaluate::Interval>;

class EvaluationRecord {
 public:
  struct Entry {
    std::int64_t step = 0;
    Intervals metrics;
  };

  // What ranks evaluations: more correct answers a set are better; the earlier of equals stays.
  static constexpr const char* kBestBy = "correct_per_set";

  void add(std::int64_t step, const Intervals& metrics);
  const std::optional<Entry>& first() const { return first_; }
  const std::optional<Entry>& best() const { return best_; }
  const std::optional<Entry>& last() const { return last_; }

  // JSON: {"best_by": ..., "first"|"best"|"last": {"step": N, "metrics": {NAME: [value, low, high]}}}; NaN as null.
  std::string to_json() const;
  static EvaluationRecord from_json(const std::string& text);

 private:
  std::optional<Entry> first_, best_, last_;
};

}  // namespace setrl::roles
