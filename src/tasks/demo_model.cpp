#include "tasks/demo_model.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tasks/demo_tables.h"

namespace setrl::tasks {
namespace {

constexpr int kAdult = 16;
constexpr int kOld = 60;

void normalise_sum(std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  for (double& weight : weights) weight /= sum;
}

}  // namespace

bool DemoModel::asked(int age, std::size_t evidence) {
  return age >= kAdult || demo_evidences()[evidence].kind != DemoEvidence::Kind::adult_background;
}

DemoModel::DemoModel() {
  const auto& evidences = demo_evidences();
  std::vector<double> leaks;
  for (const auto& evidence : evidences) leaks.push_back(evidence.leak);
  for (const auto& condition : demo_conditions()) {
    likelihood_.push_back(leaks);
    for (const auto& [name, probability] : condition.evidences) {
      const auto found = std::find_if(evidences.begin(), evidences.end(),
                                      [&wanted = name](const DemoEvidence& each) { return each.name == wanted; });
      SETRL_CHECK(found != evidences.end(), "{} lists the unknown evidence {}", condition.name, name);
      likelihood_.back()[static_cast<std::size_t>(found - evidences.begin())] = probability;
    }
  }
}

DemoPatient DemoModel::draw_person(RandomStream& random) const {
  struct AgeGroup {
    int first, last;
  };
  static constexpr AgeGroup kGroups[] = {{2, kAdult - 1}, {kAdult, kOld - 1}, {kOld, 90}};
  const auto& group = kGroups[random.choose({0.2, 0.5, 0.3})];
  DemoPatient patient;
  patient.age = group.first + static_cast<int>(random.below(static_cast<std::uint64_t>(group.last - group.first + 1)));
  patient.female = random.below(2) == 1;
  patient.condition = random.choose(prior(patient.age, patient.female));
  return patient;
}

std::size_t DemoModel::draw_condition(RandomStream& random) const {
  return draw_person(random).condition;
}

DemoPatient DemoModel::draw(RandomStream& random) const {
  DemoPatient patient = draw_person(random);
  const auto& likelihood = likelihood_[patient.condition];
  for (std::size_t e = 0; e < likelihood.size(); ++e) {
    const bool drawn = random.uniform() < likelihood[e];
    patient.present.push_back(drawn && asked(patient.age, e) ? 1 : 0);
  }
  return patient;
}

std::vector<double> DemoModel::prior(int age, bool female) const {
  std::vector<double> weights;
  for (const auto& condition : demo_conditions()) {
    const double age_factor = age < kAdult ? condition.child : (age >= kOld ? condition.old : 1.0);
    weights.push_back(condition.prior * age_factor * (female ? condition.female : 1.0));
  }
  normalise_sum(weights);
  return weights;
}

std::vector<double> DemoModel::posterior(const DemoPatient& patient) const {
  auto weights = prior(patient.age, patient.female);
  SETRL_CHECK(patient.present.size() == demo_evidences().size(), "{} evidences instead of {}", patient.present.size(),
              demo_evidences().size());
  double largest = -INFINITY;
  for (std::size_t c = 0; c < weights.size(); ++c) {
    weights[c] = std::log(weights[c]);
    for (std::size_t e = 0; e < patient.present.size(); ++e) {
      if (!asked(patient.age, e)) continue;
      weights[c] += patient.present[e] != 0 ? std::log(likelihood_[c][e]) : std::log1p(-likelihood_[c][e]);
    }
    largest = std::max(largest, weights[c]);
  }
  for (double& weight : weights) weight = std::exp(weight - largest);
  normalise_sum(weights);
  return weights;
}

double DemoModel::frequency(const DemoPatient& patient, std::size_t evidence) const {
  const auto weights = prior(patient.age, patient.female);
  double sum = 0;
  for (std::size_t c = 0; c < weights.size(); ++c) sum += weights[c] * likelihood_[c][evidence];
  return sum;
}

}  // namespace setrl::tasks
