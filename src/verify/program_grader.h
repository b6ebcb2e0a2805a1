// Grades a set of programs by running their tests in a sandbox.
#pragma once

#include <string>
#include <vector>

#include "verify/sandbox_pool.h"
#include "verify/verifier.h"

namespace setrl::verify {

// An answer is correct where all tests pass and no earlier answer of the set is the same program (syntax tree with
// names normalised). Fills verdict.programs. matched_gold: the number of the program among the different correct ones
// of its set, by first appearance; a repeated one has it too, and correct = 0. A set with a program that could not be
// run becomes Outcome::infrastructure_failure.
class ProgramGrader : public Grader {
 public:
  // Proves that the sandbox works; see SandboxPool. `abstention`: the answer "none" is an abstention.
  ProgramGrader(const VerifySection& verify, bool abstention);
  void grade(const Problem& problem, Verdict& verdict) const override;
  // All sets at once, side by side; equal texts are run once.
  void grade_all(const Problem& problem, const std::vector<Verdict*>& verdicts) const override;

 private:
  mutable SandboxPool pool_;
  bool abstention_;
};

// The program of an answer: line ends made "\n", and without a Markdown fence around the whole of it.
std::string program_text(const std::string& answer);

// From Problem::payload: {"imports": [...], "setup": "...", "tests": [...]}. Throws UserError naming the problem.
ProgramTests program_tests(const Problem& problem);

}  // namespace setrl::verify
