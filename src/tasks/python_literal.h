// The Python literals of DDXPlus' columns: lists of strings and of [string, number] pairs.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace setrl::tasks {

// "['E_53', 'E_54_@_V_161']". Strings may stand in single or double quotes with Python's escapes. `place` begins the
// message of the UserError thrown where the text is something else.
std::vector<std::string> parse_string_list(std::string_view text, const std::string& place);

// "[['Bronchitis', 0.6], ['Croup', 0.4]]".
std::vector<std::pair<std::string, double>> parse_weighted_list(std::string_view text, const std::string& place);

}  // namespace setrl::tasks
