#include "evaluate/problem_sums.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "evaluate/metrics.h"
#include "evaluate/observations.h"

namespace setrl::evaluate {

namespace {

constexpr int kBins = 10;                                     // of the calibration error
constexpr double kFlat = 1e-9;                                // rewards closer than this give no signal
constexpr double kNoVariance = 1e-12;                         // below it a correlation is noise
constexpr std::int64_t kAnswerBudgets[] = {3, 6, 9, 15, 30};  // of the published coverage table
constexpr std::int64_t kTokenBudgets[] = {64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
constexpr std::int64_t kDensePoints = 64;  // of the curve; beyond, they double

// Sums of one problem. The last entry is followed by, in this order, the first j answers holding a right one [K]; at
// each point of the curve golds found, solved, different answers [3 * points]; and for each bin of the calibration
// error of the confidences, then of their sums, its count, confidences and right answers [2 * 3 * kBins].
enum Sum : std::size_t {
  kProblems,
  kCompared,  // groups of two and more, whose rewards can differ
  kFlatGroups,
  kCompletions,
  kGraded,
  kTruncated,
  kTokens,
  kReward,
  kRewardSquare,
  kCorrect,
  kF1,
  kBestF1,
  kUniqueCorrect,
  kListedFound,  // of the golds that the problem lists
  kUniqueAnswers,
  kGolds,
  kBehaviours,
  kProblemsWithGolds,
  kCoverage,
  kSlots,
  kAbstentions,
  kBrierSets,
  kBrier,
  kConfidenceSets,
  kConfidence,
  kConfidenceSquare,
  kCount,
  kCountSquare,
  kConfidenceCount,
  kFixed
};

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

double ratio(double numerator, double denominator) {
  return denominator == 0 ? kUndefined : numerator / denominator;
}

// Of a population (divided by n, not n - 1), from its sums.
double variance(double sum, double squares, double n) {
  const double value = squares / n - (sum / n) * (sum / n);
  return n == 0 || std::isnan(value) ? kUndefined : std::max(0.0, value);
}

// The curve at a number of tokens, linear between its points; its last point beyond it.
CurveValues at_tokens(const std::vector<CurveValues>& points, double tokens) {
  CurveValues low;
  for (const auto& high : points) {
    if (!(high.tokens > tokens)) {
      low = high;
      continue;
    }
    const double share = (tokens - low.tokens) / (high.tokens - low.tokens);
    const auto between = [share](double a, double b) { return a + share * (b - a); };
    return {low.completions, tokens, between(low.coverage, high.coverage), between(low.solved, high.solved),
            between(low.unique_answers, high.unique_answers)};
  }
  return low;
}

}  // namespace

ProblemSums::ProblemSums(const std::vector<Group>& groups, int k) : k_(k) {
  SETRL_CHECK(k > 0, "k = {}", k);
  std::vector<const Group*> counted;
  std::int64_t fewest = std::numeric_limits<std::int64_t>::max();
  double completions = 0, sets = 0;
  for (const auto& group : groups) {
    SETRL_CHECK(group.verdicts.size() == group.completions.size(), "problem {}: {} completions, {} verdicts",
                group.problem.id, group.completions.size(), group.verdicts.size());
    std::int64_t size = 0;
    for (const auto& verdict : group.verdicts) {
      if (!counts(verdict)) continue;
      ++size;
      reward_centre_ += verdict.total;
      if (verdict.outcome != Outcome::graded) continue;
      if (!verdict.programs.empty()) programs_ = true;
      if (verdict.answers.confidences.empty()) calibrated_ = false;
      if (!verdict.f1.empty()) has_f1_ = true;
      ConfidencePairs pairs;
      append_pairs(verdict, pairs);
      for (const double confidence : pairs.confidences) distinct_.emplace(confidence, 0);
      if (verdict.answers.confidences.empty()) continue;
      confidence_centre_ += confidence_sum(verdict);
      count_centre_ += verdict.correct_count();
      sets += 1;
    }
    if (size == 0) continue;
    counted.push_back(&group);
    fewest = std::min(fewest, size);
    completions += static_cast<double>(size);
  }
  if (completions > 0) reward_centre_ /= completions;
  if (sets > 0) {
    confidence_centre_ /= sets;
    count_centre_ /= sets;
  }
  std::uint32_t index = 0;
  for (auto& entry : distinct_) entry.second = index++;
  if (!counted.empty()) {
    std::set<std::int64_t> reported = {1, fewest};
    for (const auto answers : kAnswerBudgets) {
      if (answers % k == 0 && answers / k <= fewest) reported.insert(answers / k);
    }
    reported_.assign(reported.begin(), reported.end());
    std::set<std::int64_t> points = reported;
    for (std::int64_t m = 1; m <= fewest; m += m < kDensePoints ? 1 : m) points.insert(m);
    generations_.assign(points.begin(), points.end());
  }
  size_ = kFixed + static_cast<std::size_t>(k) + 3 * generations_.size() + 6 * kBins;
  double tokens = 0;
  for (const auto* group : counted) {
    rows_.push_back(row_of(*group));
    tokens += rows_.back().sums[kTokens];
  }
  for (const auto budget : kTokenBudgets) {
    const double affordable = static_cast<double>(budget) * completions / tokens;  // completions
    if (affordable >= 1 && affordable <= static_cast<double>(fewest)) token_budgets_.push_back(budget);
  }
}

ProblemSums::Row ProblemSums::row_of(const Group& group) const {
  Row row;
  auto& sums = row.sums;
  sums.assign(size_, 0);
  double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;
  std::int64_t completions = 0, solved = 0;
  std::map<std::uint32_t, ValueCount> values;
  for (std::size_t i = 0; i < group.verdicts.size(); ++i) {
    const Verdict& verdict = group.verdicts[i];
    if (!counts(verdict)) continue;
    ++completions;
    solved += verdict.correct_count() > 0 ? 1 : 0;
    lowest = std::min(lowest, verdict.total);
    highest = std::max(highest, verdict.total);
    add_completion(group.completions[i], verdict, sums);
    ConfidencePairs pairs;
    append_pairs(verdict, pairs);
    for (std::size_t j = 0; j < pairs.confidences.size(); ++j) {
      const auto value = distinct_.at(pairs.confidences[j]);
      auto& count = values[value];
      count.value = value;
      ++(pairs.correct[j] != 0 ? count.right : count.wrong);
    }
  }
  for (const auto& entry : values) row.values.push_back(entry.second);

  const auto finds = finds_of_golds(group);
  const auto answers = occurrences_of_answers(group);
  const auto golds = static_cast<double>(group.problem.golds.size());
  const auto listed = static_cast<double>(count_listed(group, finds));
  sums[kProblems] = 1;
  sums[kCompared] = completions > 1 ? 1 : 0;
  sums[kFlatGroups] = completions > 1 && highest - lowest < kFlat ? 1 : 0;
  sums[kUniqueCorrect] = static_cast<double>(finds.size());
  sums[kListedFound] = listed;
  sums[kUniqueAnswers] = static_cast<double>(answers.size());
  sums[kGolds] = golds;
  sums[kBehaviours] = static_cast<double>(count_behaviours(group));
  sums[kProblemsWithGolds] = golds > 0 ? 1 : 0;
  sums[kCoverage] = golds > 0 ? listed / golds : 0;
  std::size_t next = kFixed + static_cast<std::size_t>(k_);
  for (const auto m : generations_) {
    for (const auto& [gold, n] : finds) sums[next] += evaluate::pass_at_k(completions, n, m);
    sums[next + 1] = evaluate::pass_at_k(completions, solved, m);
    for (const auto& [answer, n] : answers) sums[next + 2] += evaluate::pass_at_k(completions, n, m);
    next += 3;
  }
  return row;
}

void ProblemSums::add_completion(const Completion& completion, const Verdict& verdict,
                                 std::vector<double>& sums) const {
  const double reward = verdict.total - reward_centre_;
  sums[kCompletions] += 1;
  sums[kTruncated] += completion.finish == FinishReason::length ? 1 : 0;
  sums[kTokens] += static_cast<double>(completion.tokens.size());
  sums[kReward] += reward;
  sums[kRewardSquare] += reward * reward;
  if (verdict.outcome != Outcome::graded) {
    sums[kBrierSets] += 1;
    sums[kBrier] += 1;
    return;
  }
  const auto ranked = ranked_answers(verdict);
  const double correct = verdict.correct_count();
  sums[kGraded] += 1;
  sums[kCorrect] += correct;
  sums[kSlots] += static_cast<double>(verdict.correct.size());
  sums[kAbstentions] += static_cast<double>(verdict.correct.size() - ranked.size());
  if (!verdict.f1.empty() && !ranked.empty()) {
    sums[kF1] += verdict.f1[ranked.front()];
    double best = 0;
    for (const auto slot : ranked) best = std::max(best, verdict.f1[slot]);
    sums[kBestF1] += best;
  }
  bool hit = false;
  for (std::size_t j = 0; j < static_cast<std::size_t>(k_); ++j) {
    hit = hit || (j < ranked.size() && verdict.correct[ranked[j]] != 0);
    sums[kFixed + j] += hit ? 1 : 0;
  }
  if (!calibrated_) return;
  const double whole = evaluate::confidence_sum(verdict);
  const double confidence = whole - confidence_centre_;
  const double count = correct - count_centre_;
  sums[kConfidenceSets] += 1;
  sums[kConfidence] += confidence;
  sums[kConfidenceSquare] += confidence * confidence;
  sums[kCount] += count;
  sums[kCountSquare] += count * count;
  sums[kConfidenceCount] += confidence * count;
  const std::size_t bins = size_ - 6 * kBins;
  const auto sum_bin = static_cast<std::size_t>(std::min(static_cast<int>(whole / k_ * kBins), kBins - 1));
  sums[bins + 3 * (kBins + sum_bin)] += 1;
  sums[bins + 3 * (kBins + sum_bin) + 1] += whole;
  sums[bins + 3 * (kBins + sum_bin) + 2] += correct;
  if (ranked.empty()) return;
  double brier = 0;
  for (const auto slot : ranked) {
    const double q = verdict.answers.confidences[slot];
    const double y = verdict.correct[slot] != 0 ? 1 : 0;
    const auto bin = static_cast<std::size_t>(std::min(static_cast<int>(q * kBins), kBins - 1));
    brier += (q - y) * (q - y);
    sums[bins + 3 * bin] += 1;
    sums[bins + 3 * bin + 1] += q;
    sums[bins + 3 * bin + 2] += y;
  }
  sums[kBrierSets] += 1;
  sums[kBrier] += brier / static_cast<double>(ranked.size());
}

std::vector<double> ProblemSums::total(const std::vector<std::uint32_t>& multiplicity) const {
  SETRL_CHECK(multiplicity.size() == rows_.size(), "{} multiplicities, {} problems", multiplicity.size(), rows_.size());
  std::vector<double> sums(size_, 0);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (multiplicity[i] == 0) continue;
    const double times = multiplicity[i];
    for (std::size_t s = 0; s < size_; ++s) sums[s] += times * rows_[i].sums[s];
  }
  return sums;
}

std::vector<CurveValues> ProblemSums::curve(const std::vector<std::uint32_t>& multiplicity) const {
  return curve_of(total(multiplicity));
}

std::vector<CurveValues> ProblemSums::curve_of(const std::vector<double>& sums) const {
  std::vector<CurveValues> points;
  const double tokens = ratio(sums[kTokens], sums[kCompletions]), problems = sums[kProblems];
  std::size_t next = kFixed + static_cast<std::size_t>(k_);
  for (const auto m : generations_) {
    points.push_back({m, static_cast<double>(m) * tokens, ratio(sums[next], problems), ratio(sums[next + 1], problems),
                      ratio(sums[next + 2], problems)});
    next += 3;
  }
  return points;
}

std::map<std::string, double> ProblemSums::metrics(const std::vector<std::uint32_t>& multiplicity) const {
  const std::vector<double> sums = total(multiplicity);
  std::map<std::string, double> result;
  const double completions = sums[kCompletions], problems = sums[kProblems];
  result["reward_mean"] = ratio(sums[kReward], completions) + reward_centre_;
  result["reward_std"] = std::sqrt(variance(sums[kReward], sums[kRewardSquare], completions));
  result["groups_without_signal"] = ratio(sums[kFlatGroups], sums[kCompared]);
  result["format_rate"] = ratio(sums[kGraded], completions);
  result["truncated_rate"] = ratio(sums[kTruncated], completions);
  result["tokens_per_completion"] = ratio(sums[kTokens], completions);
  result["tokens_per_unique_correct"] = ratio(sums[kTokens], sums[kUniqueCorrect]);
  result["correct_per_set"] = ratio(sums[kCorrect], completions);
  result["unique_correct"] = ratio(sums[kUniqueCorrect], problems);
  result["unique_answers"] = ratio(sums[kUniqueAnswers], problems);
  result["gold_count"] = ratio(sums[kGolds], problems);
  result["missed_golds"] = ratio(sums[kGolds] - sums[kListedFound], problems);
  if (programs_) result["unique_behaviours"] = ratio(sums[kBehaviours], problems);
  result["coverage"] = ratio(sums[kCoverage], sums[kProblemsWithGolds]);
  result["abstention_rate"] = ratio(sums[kAbstentions], sums[kSlots]);
  result["answered_accuracy"] = ratio(sums[kCorrect], sums[kSlots] - sums[kAbstentions]);

  result["f1"] = has_f1_ ? ratio(sums[kF1], completions) : kUndefined;
  result["f1_best"] = has_f1_ ? ratio(sums[kBestF1], completions) : kUndefined;

  std::size_t next = kFixed;
  for (int j = 1; j <= k_; ++j) result[fmt::format("pass_at_{}", j)] = ratio(sums[next++], completions);
  result["pass_at_k"] = result[fmt::format("pass_at_{}", k_)];
  const auto points = curve_of(sums);
  next += 3 * points.size();
  for (const auto& point : points) {
    if (!std::binary_search(reported_.begin(), reported_.end(), point.completions)) continue;
    const std::int64_t answers = point.completions * k_;
    result[fmt::format("coverage_at_{}", answers)] = point.coverage;
    result[fmt::format("solved_at_{}", answers)] = point.solved;
    result[fmt::format("unique_answers_at_{}", answers)] = point.unique_answers;
  }
  for (const auto budget : token_budgets_) {
    const CurveValues values = at_tokens(points, static_cast<double>(budget));
    result[fmt::format("coverage_at_tokens_{}", budget)] = values.coverage;
    result[fmt::format("solved_at_tokens_{}", budget)] = values.solved;
  }

  const auto calibration_error = [&](std::size_t first) {
    double count = 0, error = 0;
    for (std::size_t bin = first; bin < first + 3 * kBins; bin += 3) {
      count += sums[bin];
      error += std::abs(sums[bin + 2] - sums[bin + 1]);
    }
    return ratio(error, count);
  };
  result["brier"] = calibrated_ ? ratio(sums[kBrier], sums[kBrierSets]) : kUndefined;
  result["ece"] = calibration_error(next);
  result["confidence_sum_ece"] = calibration_error(next + 3 * kBins);
  result["auroc"] = auroc(multiplicity);

  const double sets = sums[kConfidenceSets];
  const double confidence = ratio(sums[kConfidence], sets), count = ratio(sums[kCount], sets);  // less their centres
  const double confidence_variance = variance(sums[kConfidence], sums[kConfidenceSquare], sets);
  const double count_variance = variance(sums[kCount], sums[kCountSquare], sets);
  const bool both_vary = confidence_variance > kNoVariance && count_variance > kNoVariance;
  const double covariance = ratio(sums[kConfidenceCount], sets) - confidence * count;
  result["confidence_sum"] = confidence + confidence_centre_;
  result["confidence_sum_std"] = std::sqrt(confidence_variance);
  result["confidence_sum_bias"] = confidence + confidence_centre_ - (count + count_centre_);
  result["confidence_sum_count_correlation"] =
      both_vary ? covariance / std::sqrt(confidence_variance * count_variance) : kUndefined;
  return result;
}

double ProblemSums::auroc(const std::vector<std::uint32_t>& multiplicity) const {
  std::vector<double> right(distinct_.size(), 0), wrong(distinct_.size(), 0);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (multiplicity[i] == 0) continue;
    for (const auto& count : rows_[i].values) {
      right[count.value] += multiplicity[i] * static_cast<double>(count.right);
      wrong[count.value] += multiplicity[i] * static_cast<double>(count.wrong);
    }
  }
  double positives = 0, negatives = 0, wins = 0;
  for (std::size_t v = 0; v < right.size(); ++v) {
    wins += right[v] * (negatives + wrong[v] / 2);
    positives += right[v];
    negatives += wrong[v];
  }
  return ratio(wins, positives * negatives);
}

}  // namespace setrl::evaluate
