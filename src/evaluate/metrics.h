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

// The metrics of a list of verified groups; keys as in metrics.jsonl where both exist. docs/rewards.md "Metrics"
// defines each key. NaN where undefined (auroc with one class, calibration of sets without confidences). Infrastructure
// failures are left out; a malformed output counts as Brier 1, no correct answer. `k`: answers a set.
std::map<std::string, double> metrics(const std::vector<Group>& groups, int k);

// The same with percentile intervals: `resamples` bootstrap resamples over problems, seeded. low and high are NaN where
// `resamples` is 0 or the metric is undefined in every resample.
std::map<std::string, Interval> metrics_with_intervals(const std::vector<Group>& groups, int k, int resamples,
                                                       std::uint64_t seed);

// One point of the curve over the number of completions: what m completions of a problem (m * k answers) give, the mean
// over all choices of m of a problem's completions and over problems.
struct CurvePoint {
  std::int64_t completions = 0, answers = 0;
  double tokens = 0;        // that m completions take on average
  Interval coverage;        // different golds found
  Interval solved;          // probability of a correct answer
  Interval unique_answers;  // different answers
};
// Points for m = 1 .. 64 and the doubles, up to the smallest group. Intervals as in metrics_with_intervals.
std::vector<CurvePoint> curve_with_intervals(const std::vector<Group>& groups, int k, int resamples,
                                             std::uint64_t seed);

// pass@k from n samples of which c are right: 1 - C(n-c,k)/C(n,k), the unbiased estimator of Chen et al.,
// arXiv 2107.03374. Needs 0 <= c <= n and 1 <= k <= n.
double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k);

// Equal-width bins over [0,1]: bin i holds [i/bins, (i+1)/bins), the last one 1 as well. Means are 0 in an empty bin.
struct ReliabilityBin {
  double low = 0, high = 0, mean_confidence = 0, accuracy = 0;
  std::int64_t count = 0;
};
std::vector<ReliabilityBin> reliability(const std::vector<double>& confidences,
                                        const std::vector<std::uint8_t>& correct, int bins);
// sum over bins of count/N * |accuracy - mean confidence|; NaN without pairs.
double expected_calibration_error(const std::vector<double>& confidences, const std::vector<std::uint8_t>& correct,
                                  int bins);
double auroc(const std::vector<double>& confidences, const std::vector<std::uint8_t>& correct);  // ties count half

// Before/after table for the terminal: one row a metric, columns of intervals under `titles`. Rows that are undefined
// in every column are left out.
std::string table(const std::vector<std::string>& titles, const std::vector<std::map<std::string, Interval>>& columns);

struct Report {
  std::string task, split, policy;
  std::string mode = "multi";  // multi | single | best_of_n | self_consistency
  int k = 1;                   // answers a set
  int samples = 1;             // completions a problem that were sampled
  std::vector<Group> groups;   // sets that the metrics are of
  std::map<std::string, Interval> metrics;
  std::vector<CurvePoint> curve;
};

// Metrics, curve and their intervals for `report.groups` and `report.k`.
void fill_report(Report& report, int resamples, std::uint64_t seed);

// The text of eval.json, described in docs/rewards.md. NaN is written as null.
std::string to_json(const Report& report);

}  // namespace setrl::evaluate
