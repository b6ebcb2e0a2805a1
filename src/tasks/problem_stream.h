// Which problems a step trains on: a pure function of (seed, step). Epochs are seeded permutations of the split.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl::tasks {

// Indices into the split of the `count` problems of step `step` (steps count from 1).
std::vector<std::int64_t> step_problems(std::uint64_t seed, std::int64_t split_size, std::int64_t step, int count);

// `cases` indices spread evenly over strata (round robin over the strata in seeded order), for sft.
std::vector<std::int64_t> stratified(std::uint64_t seed, const std::vector<std::string>& strata, std::int64_t cases);

}  // namespace setrl::tasks
