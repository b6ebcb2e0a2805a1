// What a problem asks for and what a verdict says, in words: for `setrl inspect` and `setrl report`.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "records/problem.h"
#include "records/verdict.h"

namespace setrl::commands {

// Of answer k of a well-formed, graded set: "correct: GOLD", "wrong", "repeats a gold", "abstains"; of a program
// "passes its tests", "repeats a program", "wrong: REASON".
std::string answer_result(const Problem& problem, const Verdict& verdict, std::size_t k);

// The tests that programs have to pass, one text each; empty where answers are compared with golds.
std::vector<std::string> tests_of(const Problem& problem);

}  // namespace setrl::commands
