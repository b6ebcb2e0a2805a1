// One problem of a step or of an evaluation.
#pragma once

#include <cstdint>

namespace setrl::roles {

struct WorkItem {
  std::int64_t index = 0;    // place in the step's list
  std::int64_t problem = 0;  // index into the split
  bool generated = false;    // its group is there: restored with a checkpoint
};

}  // namespace setrl::roles
