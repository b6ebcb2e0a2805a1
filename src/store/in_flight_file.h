// The groups in flight of an asynchronous run's checkpoint, as one learner rank came to hold them: in-flight-NNNN.h5.
// The datasets of a trajectory file and two more; docs/checkpoint_format.md. One thread of a process owns all HDF5
// calls.
#pragma once

#include <string>
#include <vector>

#include "records/group.h"
#include "store/manifest.h"

namespace setrl::store {

// Publishes FOLDER/in-flight-NNNN.h5. Groups are graded or have no verdicts; in the latter some completions may be
// FinishReason::unfinished. Throws UserError where the disk is full or the folder is not writable.
ManifestEntry write_in_flight(const std::string& folder, int rank, const std::vector<Group>& groups);

// Those of all ranks, from a checkpoint with a good DONE; none in one of a run that was not asynchronous. Every byte is
// verified before it is parsed. Throws UserError naming the file.
std::vector<Group> read_in_flight(const std::string& folder);

}  // namespace setrl::store
