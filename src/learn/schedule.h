// Learning-rate schedules.
#pragma once

#include <cstdint>
#include <string>

namespace setrl::learn {

// Factor of the learning rate at `step` (counted from 1) of `total_steps`. Warm-up takes w = ceil(warmup_fraction *
// total_steps) steps, rising as step / w; then kind linear falls as (total - step + 1) / (total - w), cosine as half a
// cosine over the same span, constant stays 1. These are the values of transformers' schedules
// (get_linear_schedule_with_ warmup and its kin) except that the warm-up starts at 1 / w, not at 0: no step is thrown
// away. UserError on another kind.
double schedule_factor(const std::string& kind, double warmup_fraction, std::int64_t step, std::int64_t total_steps);

}  // namespace setrl::learn
