// Names and life of the folders in RUN/checkpoints.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/checkpoint.h"

namespace setrl::store {

struct CheckpointFolders {
  CheckpointFolders(const std::string& run_dir, std::int64_t step);
  std::string all;        // RUN/checkpoints
  std::string name;       // step-000010
  std::string whole;      // RUN/checkpoints/step-000010
  std::string temporary;  // RUN/checkpoints/step-000010.tmp
  std::string
      replaced;  // RUN/checkpoints/step-000010.replaced: an earlier save of the same step, until the new is whole
};

bool ends_with(const std::string& text, const std::string& end);

// Names in a folder, sorted; none where it cannot be read.
std::vector<std::string> sorted_names(const std::string& folder);

// The step in a folder's name (step-NNNNNN or step-NNNNNN.replaced), nothing for other names.
std::optional<std::int64_t> step_of_folder(const std::string& folder);

// Removes what interrupted saves and removals left (step-*.tmp), then makes the temporary folder.
void prepare_temporary(const CheckpointFolders& folders);

// Gives the temporary folder its name, writes DONE with `manifest_text`. On failure the earlier state is back.
void publish_temporary(const CheckpointFolders& folders, const std::string& manifest_text);

// Points RUN/checkpoints/latest to the folder, atomically. A file system without symbolic links gets a warning.
void point_latest(const CheckpointFolders& folders);

// Keeps the checkpoint of this step and older whole ones as `retention` says. Later steps belong to a continuation that
// the run has left and go. Failures are warnings.
void prune(const CheckpointFolders& folders, std::int64_t step, const Retention& retention);

// Removes a folder so that at no time a half-removed one bears a checkpoint's name.
void remove_folder(const std::string& folder);

}  // namespace setrl::store
