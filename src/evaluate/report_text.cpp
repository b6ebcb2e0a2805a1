// Metrics as people and plots read them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.h"
#include "evaluate/metrics.h"
#include "evaluate/observations.h"

namespace setrl::evaluate {

namespace {

// Key, name and decimals of the rows in reading order. A key that ends in "_at_" stands for all its numbers.
struct RowStyle {
  const char* key;
  const char* name;
  int decimals;
};
constexpr RowStyle kRows[] = {{"reward_mean", "reward", 3},
                              {"reward_std", "reward, standard deviation", 3},
                              {"format_rate", "well-formed outputs", 3},
                              {"correct_per_set", "correct answers per set", 3},
                              {"pass_at_", "pass@", 3},
                              {"solved_at_", "solved with answers: ", 3},
                              {"coverage_at_", "golds found with answers: ", 3},
                              {"coverage_at_tokens_", "golds found with tokens: ", 3},
                              {"solved_at_tokens_", "solved with tokens: ", 3},
                              {"f1", "F1 of the first answer", 3},
                              {"f1_best", "F1 of the best answer", 3},
                              {"unique_correct", "different golds found", 3},
                              {"gold_count", "golds per problem", 3},
                              {"missed_golds", "golds missed", 3},
                              {"coverage", "share of the golds found", 3},
                              {"unique_answers", "different answers", 2},
                              {"unique_answers_at_", "different answers of: ", 2},
                              {"unique_behaviours", "different behaviours of programs", 2},
                              {"brier", "Multi-Brier score", 4},
                              {"ece", "calibration error (ECE)", 4},
                              {"auroc", "AUROC of the confidences", 3},
                              {"confidence_sum", "sum of confidences", 3},
                              {"confidence_sum_std", "sum of confidences, spread", 3},
                              {"confidence_sum_bias", "sum of confidences - correct", 3},
                              {"confidence_sum_ece", "calibration error of the sum", 3},
                              {"confidence_sum_count_correlation", "correlation of sum and correct", 3},
                              {"abstention_rate", "abstentions", 3},
                              {"answered_accuracy", "accuracy of what was answered", 3},
                              {"tokens_per_completion", "tokens per output", 1},
                              {"tokens_per_unique_correct", "tokens per different gold", 1},
                              {"truncated_rate", "truncated outputs", 3},
                              {"groups_without_signal", "groups without signal", 3}};

// The number after "pass_at_" and the like.
std::optional<int> number_after(const std::string& key, const std::string& prefix) {
  if (prefix.back() != '_' || key.size() <= prefix.size() || key.compare(0, prefix.size(), prefix) != 0) return {};
  if (key.find_first_not_of("0123456789", prefix.size()) != std::string::npos) return {};
  return std::stoi(key.substr(prefix.size()));
}

struct Label {
  std::pair<std::size_t, int> place;  // row of kRows, number after the prefix
  std::string name;
  int decimals = 3;
};

// A key that has no row comes last, under its own name.
Label label_of(const std::string& key) {
  for (std::size_t row = 0; row < std::size(kRows); ++row) {
    const auto& style = kRows[row];
    if (key == style.key) return {{row, 0}, style.name, style.decimals};
    if (const auto number = number_after(key, style.key)) {
      return {{row, *number}, style.name + std::to_string(*number), style.decimals};
    }
  }
  return {{std::size(kRows), 0}, key, 3};
}

std::string cell(const std::map<std::string, Interval>& column, const std::string& key, int decimals) {
  const auto found = column.find(key);
  if (found == column.end() || std::isnan(found->second.value)) return "-";
  const auto& [value, low, high] = found->second;
  if (std::isnan(low) || std::isnan(high)) return fmt::format("{:.{}f}", value, decimals);
  return fmt::format("{:.{}f} [{:.{}f}, {:.{}f}]", value, decimals, low, decimals, high, decimals);
}

// Problems that are decided by tests have no golds to count.
bool counts_golds_without_any(const std::string& key, const std::vector<std::map<std::string, Interval>>& columns) {
  if (key != "gold_count" && key != "missed_golds") return false;
  return std::none_of(columns.begin(), columns.end(), [](const auto& column) {
    const auto found = column.find("gold_count");
    return found != column.end() && found->second.value > 0;
  });
}

}  // namespace

std::string table(const std::vector<std::string>& titles, const std::vector<std::map<std::string, Interval>>& columns) {
  SETRL_CHECK(titles.size() == columns.size(), "{} titles for {} columns", titles.size(), columns.size());
  // Sorted by place, then by key; a key with a defined value in some column.
  std::map<std::pair<std::pair<std::size_t, int>, std::string>, Label> rows;
  for (const auto& column : columns) {
    for (const auto& [key, interval] : column) {
      const bool repeats = key == "pass_at_k" && column.count("pass_at_1") > 0;
      if (std::isnan(interval.value) || repeats || counts_golds_without_any(key, columns)) continue;
      const Label label = label_of(key);
      rows.insert({{label.place, key}, label});
    }
  }
  std::vector<std::vector<std::string>> lines = {{"metric"}};
  lines.front().insert(lines.front().end(), titles.begin(), titles.end());
  for (const auto& [order, label] : rows) {
    std::vector<std::string> line = {label.name};
    for (const auto& column : columns) line.push_back(cell(column, order.second, label.decimals));
    lines.push_back(line);
  }
  std::vector<std::size_t> widths(titles.size() + 1, 0);
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const auto& line : lines) {
    std::string row = fmt::format("{:<{}}", line[0], widths[0]);
    for (std::size_t i = 1; i < line.size(); ++i) row += fmt::format("  {:<{}}", line[i], widths[i]);
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Interval& interval) {
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

Json to_json(const std::vector<ReliabilityBin>& bins, const char* mean, const char* truth) {
  auto list = Json::array();
  for (const auto& bin : bins) {
    list.push_back({{"low", bin.low},
                    {"high", bin.high},
                    {mean, bin.mean_confidence},
                    {truth, bin.accuracy},
                    {"count", bin.count}});
  }
  return list;
}

// Sums of confidences against numbers of correct answers, in ten bins over [0, K].
std::vector<ReliabilityBin> reliability_of_sums(const std::vector<double>& sums, const std::vector<int>& counts,
                                                int k) {
  constexpr int kBins = 10;
  std::vector<ReliabilityBin> bins(kBins);
  for (int i = 0; i < kBins; ++i) {
    bins[static_cast<std::size_t>(i)].low = static_cast<double>(i) * k / kBins;
    bins[static_cast<std::size_t>(i)].high = static_cast<double>(i + 1) * k / kBins;
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    auto& bin = bins[static_cast<std::size_t>(std::min(static_cast<int>(sums[i] / k * kBins), kBins - 1))];
    ++bin.count;
    bin.mean_confidence += sums[i];
    bin.accuracy += counts[i];
  }
  for (auto& bin : bins) {
    if (bin.count == 0) continue;
    bin.mean_confidence /= static_cast<double>(bin.count);
    bin.accuracy /= static_cast<double>(bin.count);
  }
  return bins;
}

}  // namespace

std::string to_json(const Report& report) {
  ConfidencePairs pairs;
  std::vector<double> sums;
  std::vector<int> counts;
  std::int64_t failures = 0;
  auto unique_answers = Json::array();
  for (const auto& group : report.groups) {
    failures +=
        std::count_if(group.verdicts.begin(), group.verdicts.end(), [](const auto& v) { return !evaluate::counts(v); });
    if (std::none_of(group.verdicts.begin(), group.verdicts.end(), evaluate::counts)) continue;
    unique_answers.push_back(occurrences_of_answers(group).size());
    for (const auto& verdict : group.verdicts) {
      append_pairs(verdict, pairs);
      if (verdict.outcome != Outcome::graded || verdict.answers.confidences.empty()) continue;
      sums.push_back(confidence_sum(verdict));
      counts.push_back(verdict.correct_count());
    }
  }
  Json document = {{"task", report.task},
                   {"split", report.split},
                   {"policy", report.policy},
                   {"mode", report.mode},
                   {"k", report.k},
                   {"samples", report.samples},
                   {"problems", report.groups.size()},
                   {"infrastructure_failures", failures}};
  document["metrics"] = Json::object();
  for (const auto& [name, interval] : report.metrics) document["metrics"][name] = to_json(interval);
  document["curve"] = Json::array();
  for (const auto& point : report.curve) {
    document["curve"].push_back({{"completions", point.completions},
                                 {"answers", point.answers},
                                 {"tokens", point.tokens},
                                 {"coverage", to_json(point.coverage)},
                                 {"solved", to_json(point.solved)},
                                 {"unique_answers", to_json(point.unique_answers)}});
  }
  document["reliability"] = Json::array();
  document["confidence_sum_reliability"] = Json::array();
  if (!pairs.confidences.empty()) {
    document["reliability"] = to_json(reliability(pairs.confidences, pairs.correct, 10), "mean_confidence", "accuracy");
    document["confidence_sum_reliability"] =
        to_json(reliability_of_sums(sums, counts, report.k), "mean_sum", "mean_correct");
  }
  document["confidence_sums"] = sums;
  document["unique_answers"] = std::move(unique_answers);
  return document.dump(2) + "\n";
}

}  // namespace setrl::evaluate
