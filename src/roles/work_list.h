// Which problems a phase works on and which rank does what: pure functions, so every rank derives the same list.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "roles/session.h"

namespace setrl::roles {

struct WorkItem {
  std::int64_t index = 0;    // place in the step's list
  std::int64_t problem = 0;  // index into the split
};

// What a list of items is for.
struct WorkOrder {
  std::int64_t step = 0;  // 0 for evaluations
  std::string split = "train";
  bool evaluation = false;
  int samples = 1;
  double temperature = 1;
  std::uint64_t seed = 0;  // of the sampler
  std::vector<WorkItem> items;
};

// Round 0: the step's problems. Later rounds: `count` replacements for groups without signal, from a stream of their
// own.
WorkOrder training_order(const Session& session, std::int64_t step, int round, std::int64_t first_index, int count);

// The first eval.problems of eval.split. The same random numbers in every evaluation of a seed, so that two policies
// are compared on paired samples.
WorkOrder evaluation_order(const Session& session);

inline int owner(const std::vector<int>& ranks, std::int64_t index) {
  return ranks[static_cast<std::size_t>(index) % ranks.size()];
}

// Items of the order that this owner list gives to `rank`.
std::int64_t items_of(const WorkOrder& order, const std::vector<int>& ranks, int rank);

}  // namespace setrl::roles
