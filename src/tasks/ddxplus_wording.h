// Questions of the DDXPlus dictionary as short statements.
#pragma once

#include <string>

#include "tasks/ddxplus_dictionary.h"

namespace setrl::tasks {

// "Do you have a fever (either felt or measured with a thermometer)?" -> "fever". A question that the project has no
// wording for keeps its own words without parentheses, opening and question mark.
std::string statement_of(const Evidence& evidence);

}  // namespace setrl::tasks
