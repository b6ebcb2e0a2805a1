#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "evaluate/metrics.h"
#include "recorded_groups.h"

namespace setrl::evaluate {
namespace {

using testing::graded;
using testing::group_of;
using ::testing::HasSubstr;
using testing::malformed;
using ::testing::Not;

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

Report report_of(const std::vector<Group>& groups, const std::string& policy) {
  Report report{"demo", "test", policy, "single", 2, 4, groups, {}, {}};
  fill_report(report, 50, 1);
  return report;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(Table, AlignsColumnsUnderTheirTitles) {
  const std::map<std::string, Interval> before = {{"correct_per_set", {0.73, 0.65, 0.81}},
                                                  {"tokens_per_completion", {112.34, 100, 120.5}}};
  const std::map<std::string, Interval> after = {{"correct_per_set", {1.02, 0.9, 1.125}}, {"brier", {0.2, 0.1, 0.3}}};
  const auto lines = lines_of(table({"before", "after"}, {before, after}));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_THAT(lines[1], HasSubstr("correct answers per set"));
  EXPECT_THAT(lines[1], HasSubstr("0.730 [0.650, 0.810]"));
  EXPECT_EQ(lines[0].find("before"), lines[1].find("0.730"));
  EXPECT_EQ(lines[0].find("after"), lines[1].find("1.020"));
  EXPECT_EQ(lines[0].find("after"), lines[2].find("0.2000"));
  EXPECT_THAT(lines[3], HasSubstr("112.3 [100.0, 120.5]"));
  EXPECT_EQ(lines[3].back(), '-');  // the second column has no such metric
}

TEST(Table, LeavesOutWhatIsUndefinedAndRepeats) {
  const auto text = table({"value"}, {{{"auroc", {kUndefined, kUndefined, kUndefined}},
                                       {"pass_at_1", {0.5, kUndefined, kUndefined}},
                                       {"pass_at_2", {0.75, 0.5, 1}},
                                       {"pass_at_10", {0.9, 0.5, 1}},
                                       {"pass_at_k", {0.9, 0.5, 1}},
                                       {"own_metric", {3, 2, 4}}}});
  EXPECT_THAT(text, Not(HasSubstr("AUROC")));
  EXPECT_THAT(text, Not(HasSubstr("pass_at_k")));
  EXPECT_THAT(text, HasSubstr("own_metric"));
  const auto lines = lines_of(text);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[1], "pass@1      0.500");
  EXPECT_THAT(lines[2], HasSubstr("pass@2 "));
  EXPECT_THAT(lines[3], HasSubstr("pass@10"));
}

TEST(Table, EveryMetricHasAReadableName) {
  RandomStream random(1, 0);
  const auto text = table({"x"}, {metrics_with_intervals(testing::random_groups(20, 4, random), 3, 10, 1)});
  EXPECT_THAT(text, Not(HasSubstr("_")));
}

TEST(EvalJson, HoldsTheWholeReport) {
  Verdict failure;
  failure.outcome = Outcome::infrastructure_failure;
  const std::vector<Group> groups = {
      group_of(2, {graded({0, -1}, {1, 0}, {0.75, 0.5}), malformed()}),
      group_of(1, {graded({0, kAbstained}, {1, 0}, {0.5, 0.9})}),
      group_of(1, {failure}),
  };
  const auto document = nlohmann::json::parse(to_json(report_of(groups, "runs/a \"b\"")));
  EXPECT_EQ(document.at("task"), "demo");
  EXPECT_EQ(document.at("split"), "test");
  EXPECT_EQ(document.at("policy"), "runs/a \"b\"");
  EXPECT_DOUBLE_EQ(document.at("metrics").at("format_rate").at("value").get<double>(), 2.0 / 3);
  EXPECT_LE(document.at("metrics").at("format_rate").at("low").get<double>(), 2.0 / 3);
  EXPECT_EQ(document.at("confidence_sums"), nlohmann::json({1.25, 0.5}));
  EXPECT_EQ(document.at("unique_answers"), nlohmann::json({2, 1}));
  ASSERT_EQ(document.at("reliability").size(), 10u);
  EXPECT_EQ(document.at("reliability")[5].at("count"), 2);
  EXPECT_DOUBLE_EQ(document.at("reliability")[5].at("accuracy").get<double>(), 0.5);
  EXPECT_EQ(document.at("reliability")[7].at("count"), 1);
  EXPECT_EQ(document.at("mode"), "single");
  EXPECT_EQ(document.at("k"), 2);
  EXPECT_EQ(document.at("samples"), 4);
  EXPECT_EQ(document.at("problems"), 3);
  EXPECT_EQ(document.at("infrastructure_failures"), 1);
  ASSERT_EQ(document.at("curve").size(), 1u);  // the smallest group has one completion
  EXPECT_EQ(document.at("curve")[0].at("answers"), 2);
  EXPECT_EQ(document.at("curve")[0].at("tokens"), 10);
  EXPECT_EQ(document.at("curve")[0].at("coverage").at("value"), 0.75);
  ASSERT_EQ(document.at("confidence_sum_reliability").size(), 10u);
  EXPECT_EQ(document.at("confidence_sum_reliability")[6].at("mean_sum"), 1.25);
  EXPECT_EQ(document.at("confidence_sum_reliability")[6].at("mean_correct"), 1);
  EXPECT_EQ(document.size(), 14u);
}

TEST(EvalJson, WritesNullForUndefinedAndNoReliabilityWithoutConfidences) {
  const std::vector<Group> groups = {group_of(2, {graded({0, -1}, {1, 0}, {})})};
  const auto document = nlohmann::json::parse(to_json(report_of(groups, "p")));
  EXPECT_TRUE(document.at("metrics").at("brier").at("value").is_null());
  EXPECT_TRUE(document.at("reliability").empty());
  EXPECT_TRUE(document.at("confidence_sums").empty());
}

}  // namespace
}  // namespace setrl::evaluate
