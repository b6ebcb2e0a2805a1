// Grades a set against a list of gold answers by normalised exact match.
#pragma once

#include <string>

#include "verify/verifier.h"

namespace setrl::verify {

// An answer matches a gold where text::normalise of both is equal (the gold's text or one of its aliases). A gold
// counts once. Where an answer matches several golds, the assignment with most golds found is taken, so that the number
// of correct answers does not depend on their order; among equal ones the earlier answer gets the gold.
class SetGrader : public Grader {
 public:
  // `abstention`: the answer "none" is an abstention (unless it matches a gold). `f1`: fill Verdict::f1 as well.
  explicit SetGrader(bool abstention, bool f1 = false) : abstention_(abstention), f1_(f1) {}
  void grade(const Problem& problem, Verdict& verdict) const override;

 private:
  bool abstention_;
  bool f1_;
};

// F1 of the normalised words of both texts, as bags (the measure of SQuAD, arXiv 1606.05250; after HotPotQA's
// evaluation script, "yes" and "no" share nothing with any other text).
double word_f1(const std::string& answer, const std::string& gold);

}  // namespace setrl::verify
