// The probability model behind the demo task: who comes, what they have, what they show; and Bayes' rule back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/random.h"

namespace setrl::tasks {

struct DemoPatient {
  int age = 0;
  bool female = false;
  std::size_t condition = 0;          // index into demo_conditions()
  std::vector<std::uint8_t> present;  // [demo_evidences()] 1 where present
};

// Age and sex are drawn first, then the condition given both (prior times factors), then every evidence on its own
// given the condition. Immutable.
class DemoModel {
 public:
  DemoModel();

  // Takes all its randomness from `random`.
  DemoPatient draw(RandomStream& random) const;
  // The part of draw() before the evidences: the same condition from the same stream, at a fraction of the cost.
  std::size_t draw_condition(RandomStream& random) const;

  // Whether a patient of this age is asked for the evidence at all.
  static bool asked(int age, std::size_t evidence);
  // P(condition | age, sex), [demo_conditions()], sums to 1.
  std::vector<double> prior(int age, bool female) const;
  // P(condition | age, sex, every asked evidence present or absent), [demo_conditions()], sums to 1: naive Bayes, which
  // is exact here because evidences are drawn independently given the condition. The patient's condition is not looked
  // at.
  std::vector<double> posterior(const DemoPatient& patient) const;
  // P(evidence | condition).
  double likelihood(std::size_t condition, std::size_t evidence) const { return likelihood_[condition][evidence]; }
  // P(evidence) over all patients of this age and sex.
  double frequency(const DemoPatient& patient, std::size_t evidence) const;

 private:
  DemoPatient draw_person(RandomStream& random) const;

  std::vector<std::vector<double>> likelihood_;  // [conditions][evidences]
};

}  // namespace setrl::tasks
