// What the checks share. Internal to store.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "store/check.h"
#include "store/checkpoint.h"

namespace setrl::store {

// Runs `work`; a UserError becomes a problem. True where it threw none.
template <typename Work>
bool passes(CheckReport& report, const Work& work) {
  try {
    work();
    return true;
  } catch (const UserError& error) {
    report.problems.push_back(error.what());
    return false;
  }
}

// The checkpoint's description where every file of it is good.
std::optional<CheckpointInfo> check_folder(const std::string& folder, CheckReport& report);

// Steps of the lines of a metrics.jsonl.
std::vector<std::int64_t> check_metrics(const std::string& path, CheckReport& report);

}  // namespace setrl::store
