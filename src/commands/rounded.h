// Numbers for a line of JSON.
#pragma once

#include <cmath>

namespace setrl::commands {

// `steps`: parts of one that are kept, such as 1000.
inline double rounded(double value, double steps) {
  return std::round(value * steps) / steps;
}

}  // namespace setrl::commands
