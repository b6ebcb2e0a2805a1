// The run directory's life: made or continued, guarded against mixing two runs. Layout: DESIGN "A run directory".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "roles/session.h"
#include "store/checkpoint.h"

namespace setrl::roles {

struct ResumePoint {
  std::string folder;  // checkpoint
  store::CheckpointInfo info;
};

// Root: makes the folders and writes config.cfg; all ranks: log files. Decides by run.resume whether and from where the
// run continues, the same on every rank. Throws UserError where the directory holds a run and resume is never, or where
// the checkpoint's configuration differs in a key that decides results (naming the keys). Collective over world.
std::optional<ResumePoint> open_run_directory(const Session& session);

}  // namespace setrl::roles
