// A training target under construction: keeps answers distinct after normalisation and orders them by confidence.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "records/verdict.h"

namespace setrl::tasks {

class GoldSetBuilder {
 public:
  explicit GoldSetBuilder(std::size_t k) : k_(k) {}

  bool full() const { return entries_.size() == k_; }
  // Ignored where the set is full, or holds that answer already, or nothing is left of it after normalisation.
  void add(const std::string& answer, double confidence);
  // Later additions of this answer are ignored.
  void forbid(const std::string& answer);
  // Fills the set with "none" at confidence 0.
  void add_abstentions();
  // For answers drawn at random: at most 0.02, and below that of every other answer.
  double filler_confidence() const;
  // Appends the answers, most confident first (and, where the format has them, the confidences) to `set`.
  void finish(AnswerSet& set, bool confidences);

 private:
  std::size_t k_;
  std::set<std::string> names_;
  std::vector<std::pair<std::string, double>> entries_;
};

}  // namespace setrl::tasks
