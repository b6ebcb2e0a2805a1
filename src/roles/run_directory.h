// The run directory's life: made or continued, guarded against mixing two runs. Layout: DESIGN "A run directory".
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "roles/session.h"
#include "store/checkpoint.h"
#include "store/metrics_file.h"

namespace setrl::roles {

struct ResumePoint {
  std::string folder;  // checkpoint
  store::CheckpointInfo info;
  bool of_this_run = true;  // the checkpoint lies in run.dir
};

// Makes the folders and writes config.cfg (root), opens the log files (all ranks), and decides by run.resume whether
// and from where the run continues, the same on every rank:
//   never  a directory that holds a run is refused
//   auto   from the newest whole checkpoint of run.dir, or from the start where there is none
//   PATH   from that checkpoint, or the newest whole one of that run directory; where it is another run's, run.dir must
//          not hold a run yet
// `load` reads the checkpoint on every rank. Where it finds damage (UserError) the next older checkpoint is tried, with
// a warning, unless PATH names one checkpoint. `kind`: "train" or "sft", which must be the checkpoint's. Throws
// UserError where nothing can be loaded, and where the checkpoint is of another kind, model, or configuration, naming
// the keys. What the run wrote after the checkpoint's step is removed. Collective over world.
std::optional<ResumePoint> open_run_directory(const Session& session, const std::string& kind,
                                              const std::function<void(const ResumePoint&)>& load);

// Before a save: makes metrics.jsonl permanent, and returns its size and checksum as a JSON object for the checkpoint,
// by which `setrl check` knows whether lines were lost or changed.
std::string settle_metrics(store::MetricsFile& metrics);

}  // namespace setrl::roles
