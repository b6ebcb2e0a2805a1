// Which build of the program this is.
#pragma once

#include <string>

namespace setrl {

// The linker's build id of the running program (the same for the same code, another for any other), in hexadecimal;
// "unknown" where it was linked without one.
std::string build_id();

}  // namespace setrl
