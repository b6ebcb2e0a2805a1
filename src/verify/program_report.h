// Programs, their tests, and what came of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl::verify {

// How a program is judged. Run in this order: the program, `imports`, `setup`, `tests`.
struct ProgramTests {
  std::vector<std::string> imports;  // statements that tests need
  std::string setup;
  std::vector<std::string> tests;  // Python with assertions at the top level
};

enum class ProgramOutcome { passed, failed, infrastructure_failure };

struct ProgramReport {
  ProgramOutcome outcome = ProgramOutcome::infrastructure_failure;
  std::string reason;                // why it did not pass; may hold text of the program
  std::vector<std::uint8_t> passed;  // of each test
  std::uint64_t tree = 0;            // of the syntax tree with names normalised; 0 where the text is no program
  std::uint64_t behaviour = 0;       // of the results of all tests' calls; 0 where there are none
  double cpu_s = 0;
};

}  // namespace setrl::verify
