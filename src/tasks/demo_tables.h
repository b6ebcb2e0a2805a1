// The demo task's medicine: conditions and evidences with made-up but plausible numbers. Not medical advice.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace setrl::tasks {

struct DemoEvidence {
  // Background is history rather than a symptom; that of adults is neither asked nor shown below 16 years.
  enum class Kind { symptom, background, adult_background };
  std::string name;
  double leak;  // probability in patients whose condition does not list it
  Kind kind = Kind::symptom;
};

struct DemoCondition {
  std::string name;
  std::vector<std::string> aliases;
  double prior;                                           // relative frequency in adults of both sexes
  double child, old;                                      // factors on the prior below 16 and from 60 years on
  double female;                                          // factor on the prior of women
  std::vector<std::pair<std::string, double>> evidences;  // probability in patients who have the condition
};

const std::vector<DemoEvidence>& demo_evidences();
const std::vector<DemoCondition>& demo_conditions();

}  // namespace setrl::tasks
