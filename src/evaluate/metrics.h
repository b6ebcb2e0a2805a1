// Coverage, calibration and token-cost metrics (REWARDS.md "Metrics"). Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "records/group.h"

namespace setrl::evaluate {

struct Interval {
  double value = 0, low = 0, high = 0;  // estimate and 95 % bootstrap interval over problems
};

// The metrics of a list of verified groups; keys as in metrics.jsonl where both exist: reward_mean, format_rate,
// correct_per_set, unique_correct, pass_at_1, pass_at_k, brier, ece, auroc, confidence_sum, tokens_per_completion,
// truncated_rate, tokens_per_unique_correct, unique_answers, gold_count. NaN where undefined (auroc with one class).
// Infrastructure failures are left out; a malformed output counts as Brier 1, no correct answer.
std::map<std::string, double> metrics(const std::vector<Group>& groups, int k);

// The same with intervals: `resamples` bootstrap resamples over problems, seeded.
std::map<std::string, Interval> metrics_with_intervals(const std::vector<Group>& groups, int k, int resamples,
                                                       std::uint64_t seed);

// pass@k from n samples of which c are right: 1 - C(n-c,k)/C(n,k).
double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k);

// Equal-width bins over [0,1].
struct ReliabilityBin {
  double low = 0, high = 0, mean_confidence = 0, accuracy = 0;
  std::int64_t count = 0;
};
std::vector<ReliabilityBin> reliability(const std::vector<double>& confidences,
                                        const std::vector<std::uint8_t>& correct, int bins);
double expected_calibration_error(const std::vector<double>& confidences, const std::vector<std::uint8_t>& correct,
                                  int bins);
double auroc(const std::vector<double>& confidences, const std::vector<std::uint8_t>& correct);  // ties count half

// Before/after table for the terminal: one row a metric, columns of intervals under `titles`.
std::string table(const std::vector<std::string>& titles, const std::vector<std::map<std::string, Interval>>& columns);

}  // namespace setrl::evaluate
