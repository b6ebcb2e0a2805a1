// Questions of the DDXPlus dictionary as short statements.
#pragma once

#include <string>

namespace setrl::tasks {

// "Do you have a fever (either felt or measured with a thermometer)?" -> "fever". Questions that the project has no
// wording for keep their own words without parentheses, opening and question mark.
std::string statement_of(const std::string& question);

}  // namespace setrl::tasks
