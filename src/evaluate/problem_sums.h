// Sufficient statistics: every metric is a function of sums over problems, so that a bootstrap resample costs one
// weighted addition a problem and never looks at a completion again. AUROC, which is no function of sums, is kept as
// counts at the distinct confidence values.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "records/group.h"

namespace setrl::evaluate {

// Means over problems of what `completions` of a problem's completions give, and the tokens that they take on average.
struct CurveValues {
  std::int64_t completions = 0;
  double tokens = 0, coverage = 0, solved = 0, unique_answers = 0;
};

class ProblemSums {
 public:
  // `k`: answers a set. Groups without any counted completion are left out.
  ProblemSums(const std::vector<Group>& groups, int k);

  std::size_t problems() const { return rows_.size(); }

  // The metrics, by key, of the list in which problem i occurs multiplicity[i] times. [problems()]
  std::map<std::string, double> metrics(const std::vector<std::uint32_t>& multiplicity) const;

  // The curve over the number of completions, of the same list. [points]
  std::vector<CurveValues> curve(const std::vector<std::uint32_t>& multiplicity) const;

 private:
  // Right and wrong answers of one problem at one distinct confidence value.
  struct ValueCount {
    std::uint32_t value = 0;  // index into the sorted distinct values
    std::uint32_t right = 0;
    std::uint32_t wrong = 0;
  };
  struct Row {
    std::vector<double> sums;  // [S], see problem_sums.cpp
    std::vector<ValueCount> values;
  };

  Row row_of(const Group& group) const;
  void add_completion(const Completion& completion, const Verdict& verdict, std::vector<double>& sums) const;
  std::vector<double> total(const std::vector<std::uint32_t>& multiplicity) const;
  std::vector<CurveValues> curve_of(const std::vector<double>& sums) const;
  double auroc(const std::vector<std::uint32_t>& multiplicity) const;

  int k_;
  std::vector<std::int64_t> generations_;    // points of the curve, in completions: up to the smallest group
  std::vector<std::int64_t> reported_;       // those of coverage_at_N and its kin, N = completions * k
  std::vector<std::int64_t> token_budgets_;  // of coverage_at_tokens_N and its kin
  std::size_t size_ = 0;                     // S
  bool calibrated_ = true;                   // the sets have confidences
  bool has_f1_ = false;                      // some verdict has word overlaps
  bool programs_ = false;                    // answers are programs
  // Subtracted before squares are summed, against cancellation.
  double reward_centre_ = 0, confidence_centre_ = 0, count_centre_ = 0;
  std::map<double, std::uint32_t> distinct_;
  std::vector<Row> rows_;
};

}  // namespace setrl::evaluate
