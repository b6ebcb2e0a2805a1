#include "tasks/problem_stream.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/random.h"

namespace setrl::tasks {
namespace {

// The order of the split in one epoch. Computed anew for each call: a million indices take some 20 ms, and there is
// nothing to keep, save or send.
std::vector<std::int64_t> epoch_order(std::uint64_t seed, std::int64_t size, std::int64_t epoch) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  RandomStream random(seed, stable_hash(fmt::format("problem stream/epoch {}", epoch)));
  random.shuffle(order);
  return order;
}

}  // namespace

std::vector<std::int64_t> step_problems(std::uint64_t seed, std::int64_t split_size, std::int64_t step, int count) {
  SETRL_CHECK(split_size > 0, "the split is empty");
  SETRL_CHECK(step >= 1, "steps count from 1, got {}", step);
  SETRL_CHECK(count >= 0, "negative number of problems {}", count);
  std::vector<std::int64_t> indices;
  indices.reserve(static_cast<std::size_t>(count));
  std::int64_t ordered_epoch = -1;
  std::vector<std::int64_t> order;
  for (int i = 0; i < count; ++i) {
    const std::int64_t position = (step - 1) * count + i;
    const std::int64_t epoch = position / split_size;
    if (epoch != ordered_epoch) {
      order = epoch_order(seed, split_size, epoch);
      ordered_epoch = epoch;
    }
    indices.push_back(order[static_cast<std::size_t>(position % split_size)]);
  }
  return indices;
}

std::vector<std::int64_t> stratified(std::uint64_t seed, const std::vector<std::string>& strata, std::int64_t cases) {
  std::map<std::string, std::vector<std::int64_t>> members;
  for (std::size_t i = 0; i < strata.size(); ++i) members[strata[i]].push_back(static_cast<std::int64_t>(i));

  RandomStream random(seed, stable_hash("stratified"));
  std::vector<std::vector<std::int64_t>> groups;
  for (auto& [name, indices] : members) {
    random.shuffle(indices);
    groups.push_back(std::move(indices));
  }
  random.shuffle(groups);

  const auto wanted =
      static_cast<std::size_t>(std::clamp<std::int64_t>(cases, 0, static_cast<std::int64_t>(strata.size())));
  std::vector<std::int64_t> chosen;
  chosen.reserve(wanted);
  for (std::size_t round = 0; chosen.size() < wanted; ++round) {
    for (const auto& group : groups) {
      if (round < group.size() && chosen.size() < wanted) chosen.push_back(group[round]);
    }
  }
  return chosen;
}

}  // namespace setrl::tasks
