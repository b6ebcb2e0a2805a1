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
                              {"unique_correct", "different golds found", 3},
                              {"gold_count", "golds per problem", 3},
                              {"missed_golds", "golds missed", 3},
                              {"coverage", "share of the golds found", 3},
                              {"unique_answers", "different answers", 2},
                              {"unique_behaviours", "different behaviours of programs", 2},
                              {"brier", "Multi-Brier score", 4},
                              {"ece", "calibration error (ECE)", 4},
                              {"auroc", "AUROC of the confidences", 3},
                              {"confidence_sum", "sum of confidences", 3},
                              {"confidence_sum_std", "sum of confidences, spread", 3},
                              {"confidence_sum_bias", "sum of confidences - correct", 3},
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

}  // namespace

std::string table(const std::vector<std::string>& titles, const std::vector<std::map<std::string, Interval>>& columns) {
  SETRL_CHECK(titles.size() == columns.size(), "{} titles for {} columns", titles.size(), columns.size());
  // Sorted by place, then by key; a key with a defined value in some column.
  std::map<std::pair<std::pair<std::size_t, int>, std::string>, Label> rows;
  for (const auto& column : columns) {
    for (const auto& [key, interval] : column) {
      const bool repeats = key == "pass_at_k" && column.count("pass_at_1") > 0;
      if (std::isnan(interval.value) || repeats) continue;
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

std::string to_json(const ReportLabels& labels, const std::vector<Group>& groups,
                    const std::map<std::string, Interval>& metrics) {
  nlohmann::ordered_json document;
  document["task"] = labels.task;
  document["split"] = labels.split;
  document["policy"] = labels.policy;
  document["metrics"] = nlohmann::ordered_json::object();
  for (const auto& [name, interval] : metrics) {
    document["metrics"][name] = {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
  }
  ConfidencePairs pairs;
  auto sums = nlohmann::ordered_json::array();
  auto unique_answers = nlohmann::ordered_json::array();
  for (const auto& group : groups) {
    if (std::none_of(group.verdicts.begin(), group.verdicts.end(), counts)) continue;
    unique_answers.push_back(count_unique_answers(group));
    for (const auto& verdict : group.verdicts) {
      append_pairs(verdict, pairs);
      if (verdict.outcome == Outcome::graded && !verdict.answers.confidences.empty()) {
        sums.push_back(confidence_sum(verdict));
      }
    }
  }
  document["reliability"] = nlohmann::ordered_json::array();
  if (!pairs.confidences.empty()) {
    for (const auto& bin : reliability(pairs.confidences, pairs.correct, 10)) {
      document["reliability"].push_back({{"low", bin.low},
                                         {"high", bin.high},
                                         {"mean_confidence", bin.mean_confidence},
                                         {"accuracy", bin.accuracy},
                                         {"count", bin.count}});
    }
  }
  document["confidence_sums"] = std::move(sums);
  document["unique_answers"] = std::move(unique_answers);
  return document.dump(2) + "\n";
}

}  // namespace setrl::evaluate
