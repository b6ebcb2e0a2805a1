// Before a job begins: do all ranks run the same program with the same settings?
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"

namespace setrl::comm {

struct Fact {
  std::string name, value;  // "program", "build 1f2e..."; "learn.clip_low", "0.2"
};

// Collective. Throws UserError, the same on every rank, that names the ranks and hosts whose facts differ from rank 0's
// and, for the first of them, what differs.
void check_agreement(Communicator& world, const std::vector<Fact>& facts);

}  // namespace setrl::comm
