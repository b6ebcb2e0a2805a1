// Which problems a phase works on and how: pure functions, the same on every rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "roles/session.h"
#include "roles/work_item.h"

namespace setrl::roles {

// How items are generated.
struct WorkOrder {
  std::string split = "train";
  bool evaluation = false;
  int samples = 1;
  double temperature = 1;
  std::uint64_t seed = 0;  // of the sampler
};

WorkOrder training_order(const Session& session, std::int64_t step);
// The same random numbers in every evaluation of a seed, so that two policies are compared on paired samples.
WorkOrder evaluation_order(const Session& session);

// Round 0: the step's problems. Later rounds: `count` replacements for groups without signal, from a stream of their
// own.
std::vector<WorkItem> training_items(const Session& session, std::int64_t step, int round, std::int64_t first_index,
                                     int count);
// The first eval.problems of eval.split.
std::vector<WorkItem> evaluation_items(const Session& session);

inline int owner(const std::vector<int>& ranks, std::int64_t index) {
  return ranks[static_cast<std::size_t>(index) % ranks.size()];
}

// How many of the items 0 .. count - 1 this owner list gives to `rank`.
std::int64_t items_of(std::int64_t count, const std::vector<int>& ranks, int rank);

}  // namespace setrl::roles
