#include "evaluate/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "recorded_groups.h"

namespace setrl::evaluate {
namespace {

using testing::graded;
using testing::group_of;
using testing::malformed;
using testing::random_groups;

std::vector<Group> groups_from(const nlohmann::json& recorded) {
  std::vector<Group> groups;
  for (const auto& item : recorded) {
    Group group;
    group.problem.golds.resize(item.at("golds").get<std::size_t>());
    for (const auto& entry : item.at("completions")) {
      Completion completion;
      completion.tokens.resize(entry.at("tokens").get<std::size_t>());
      completion.finish = static_cast<FinishReason>(entry.at("finish").get<int>());
      Verdict verdict;
      verdict.outcome = static_cast<Outcome>(entry.at("outcome").get<int>());
      verdict.total = entry.at("reward").get<double>();
      if (verdict.outcome == Outcome::graded) {
        verdict.answers.answers = entry.at("answers").get<std::vector<std::string>>();
        verdict.answers.confidences = entry.at("confidences").get<std::vector<double>>();
        verdict.correct = entry.at("correct").get<std::vector<std::uint8_t>>();
        verdict.matched_gold = entry.at("matched_gold").get<std::vector<std::int32_t>>();
      } else {
        verdict.answers.malformed_reason = "recorded";
      }
      group.completions.push_back(completion);
      group.verdicts.push_back(verdict);
    }
    groups.push_back(group);
  }
  return groups;
}

TEST(Metrics, EqualAnIndependentCalculation) {
  const std::string path = std::string(std::getenv("SETRL_FIXTURES")) + "/evaluate/metrics.json";
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  const auto cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 9u);
  for (const auto& item : cases) {
    SCOPED_TRACE(item.at("name").get<std::string>());
    const auto result = metrics(groups_from(item.at("groups")), item.at("k").get<int>());
    EXPECT_EQ(result.size(), item.at("expected").size());
    for (const auto& [key, expected] : item.at("expected").items()) {
      SCOPED_TRACE(key);
      ASSERT_EQ(result.count(key), 1u);
      if (expected.is_null()) {
        EXPECT_TRUE(std::isnan(result.at(key))) << result.at(key);
      } else {
        EXPECT_NEAR(result.at(key), expected.get<double>(), 1e-9);
      }
    }
  }
}

TEST(Metrics, HandCalculatedGroup) {
  // Two completions for three golds: the first finds gold 0 in its second-most confident slot, the second is malformed.
  const auto result = metrics({group_of(3, {graded({-1, 0}, {0, 1}, {0.6, 0.5}, 1.2), malformed()})}, 2);
  EXPECT_DOUBLE_EQ(result.at("format_rate"), 0.5);
  EXPECT_DOUBLE_EQ(result.at("correct_per_set"), 0.5);
  EXPECT_DOUBLE_EQ(result.at("pass_at_1"), 0);
  EXPECT_DOUBLE_EQ(result.at("pass_at_2"), 0.5);
  EXPECT_DOUBLE_EQ(result.at("pass_at_k"), 0.5);
  EXPECT_DOUBLE_EQ(result.at("brier"), (1 + (0.36 + 0.25) / 2) / 2);
  EXPECT_DOUBLE_EQ(result.at("confidence_sum"), 1.1);
  EXPECT_NEAR(result.at("confidence_sum_bias"), 0.1, 1e-12);
  EXPECT_DOUBLE_EQ(result.at("unique_correct"), 1);
  EXPECT_DOUBLE_EQ(result.at("unique_answers"), 2);
  EXPECT_DOUBLE_EQ(result.at("missed_golds"), 2);
  EXPECT_DOUBLE_EQ(result.at("tokens_per_unique_correct"), 20);
  EXPECT_DOUBLE_EQ(result.at("coverage_at_2"), 0.5);
  EXPECT_DOUBLE_EQ(result.at("coverage_at_4"), 1);
  EXPECT_DOUBLE_EQ(result.at("reward_mean"), 0.6);
  EXPECT_DOUBLE_EQ(result.at("reward_std"), 0.6);
  EXPECT_DOUBLE_EQ(result.at("auroc"), 0);
}

TEST(Metrics, RankByConfidenceOnlyWhereThereIsOne) {
  EXPECT_EQ(metrics({group_of(1, {graded({-1, 0}, {0, 1}, {0.2, 0.3})})}, 2).at("pass_at_1"), 1);
  EXPECT_EQ(metrics({group_of(1, {graded({-1, 0}, {0, 1}, {0.3, 0.3})})}, 2).at("pass_at_1"), 0);  // tie: by position
  EXPECT_EQ(metrics({group_of(1, {graded({-1, 0}, {0, 1}, {})})}, 2).at("pass_at_1"), 0);
  EXPECT_TRUE(std::isnan(metrics({group_of(1, {graded({-1, 0}, {0, 1}, {})})}, 2).at("brier")));
}

TEST(Metrics, AbstentionsAreNoAnswers) {
  const auto result = metrics({group_of(1, {graded({kAbstained, 0}, {0, 1}, {0.9, 0.5})})}, 2);
  EXPECT_DOUBLE_EQ(result.at("abstention_rate"), 0.5);
  EXPECT_DOUBLE_EQ(result.at("answered_accuracy"), 1);
  EXPECT_DOUBLE_EQ(result.at("pass_at_1"), 1);
  EXPECT_DOUBLE_EQ(result.at("brier"), 0.25);
  EXPECT_DOUBLE_EQ(result.at("confidence_sum"), 0.5);
  EXPECT_DOUBLE_EQ(result.at("unique_answers"), 1);
}

TEST(Metrics, NoGroupsGiveUndefinedValues) {
  for (const auto& [key, value] : metrics({}, 3)) EXPECT_TRUE(std::isnan(value)) << key;
  for (const auto& [key, interval] : metrics_with_intervals({}, 3, 10, 1)) EXPECT_TRUE(std::isnan(interval.low)) << key;
}

TEST(Bootstrap, IsAFunctionOfTheSeed) {
  RandomStream random(3, 0);
  const auto groups = random_groups(50, 2, random);
  const auto first = metrics_with_intervals(groups, 3, 300, 11);
  const auto again = metrics_with_intervals(groups, 3, 300, 11);
  const auto other = metrics_with_intervals(groups, 3, 300, 12);
  bool differs = false;
  for (const auto& [key, interval] : first) {
    if (std::isnan(interval.low)) continue;
    EXPECT_EQ(interval.low, again.at(key).low) << key;
    EXPECT_EQ(interval.high, again.at(key).high) << key;
    EXPECT_TRUE(key == "ece" || interval.low <= interval.value) << key;  // resampling adds noise to every bin's error
    EXPECT_GE(interval.high, interval.value) << key;
    differs = differs || interval.low != other.at(key).low;
  }
  EXPECT_TRUE(differs);
  EXPECT_EQ(first.at("gold_count").low, 4);
  EXPECT_EQ(first.at("gold_count").high, 4);
}

TEST(Bootstrap, PointEstimateIsThePlainMetric) {
  RandomStream random(4, 0);
  const auto groups = random_groups(30, 3, random);
  const auto plain = metrics(groups, 3);
  const auto intervals = metrics_with_intervals(groups, 3, 0, 1);
  ASSERT_EQ(plain.size(), intervals.size());
  for (const auto& [key, value] : plain) {
    EXPECT_TRUE(std::isnan(value) || intervals.at(key).value == value) << key;
    EXPECT_TRUE(std::isnan(intervals.at(key).low)) << key;
  }
}

Verdict programs(const std::vector<ProgramTrace>& traces, std::vector<std::uint8_t> correct) {
  Verdict verdict = graded(std::vector<std::int32_t>(traces.size(), 0), std::move(correct), {});
  verdict.programs = traces;
  return verdict;
}

// Programs have no list of golds: each different syntax tree that passed counts once over all completions.
TEST(Programs, AreCountedByTreeAndByBehaviour) {
  const Group group =
      group_of(0, {programs({{11, 7, ""}, {22, 7, ""}, {33, 8, "test 1 is false"}}, {1, 1, 0}),
                   programs({{11, 7, ""}, {44, 9, "x"}, {0, 0, "SyntaxError"}}, {1, 0, 0}), malformed()});
  const auto result = metrics({group}, 3);
  EXPECT_EQ(result.at("unique_correct"), 2);
  EXPECT_EQ(result.at("unique_answers"), 5);  // 11, 22, 33, 44, and the text that is no program
  EXPECT_EQ(result.at("unique_behaviours"), 3);
  EXPECT_EQ(result.at("correct_per_set"), 1);
  EXPECT_EQ(result.at("missed_golds"), 0);
  EXPECT_TRUE(std::isnan(result.at("coverage")));
  // One set finds 2, one 1, one none: 1 on average. All three find 2.
  EXPECT_NEAR(result.at("coverage_at_3"), 1, 1e-12);
  EXPECT_NEAR(result.at("coverage_at_9"), 2, 1e-12);
  EXPECT_EQ(metrics({group_of(1, {malformed()})}, 3).count("unique_behaviours"), 0u);
}

// A 95 % interval holds the truth in about 95 % of repetitions: 285 of 300, standard error 3.8. The bounds are 3.5
// standard errors above and 4.5 below, since percentile intervals of 60 problems are a little narrow.
TEST(Bootstrap, CoversTheTruthAtItsLevel) {
  std::map<std::string, double> truths = {
      {"correct_per_set", 1.5}, {"brier", 1.0 / 6}, {"confidence_sum", 1.5}, {"auroc", 5.0 / 6}};
  std::map<std::string, int> covered;
  RandomStream random(5, 0);
  const int repetitions = 300;
  for (int r = 0; r < repetitions; ++r) {
    const auto intervals = metrics_with_intervals(random_groups(60, 1, random), 3, 200, static_cast<std::uint64_t>(r));
    for (const auto& [key, truth] : truths) {
      const auto& interval = intervals.at(key);
      covered[key] += interval.low <= truth && truth <= interval.high;
    }
  }
  for (const auto& [key, count] : covered) {
    EXPECT_GE(count, 268) << key;
    EXPECT_LE(count, 298) << key;
  }
}

// Completions of one problem resemble each other: the interval must come from problems, not from completions.
TEST(Bootstrap, ResamplesProblems) {
  RandomStream random(6, 0);
  auto groups = random_groups(40, 1, random);
  const auto once = metrics_with_intervals(groups, 3, 400, 1).at("correct_per_set");
  for (auto& group : groups) {
    group.completions.insert(group.completions.end(), 7, group.completions.front());
    group.verdicts.insert(group.verdicts.end(), 7, group.verdicts.front());
  }
  const auto repeated = metrics_with_intervals(groups, 3, 400, 1).at("correct_per_set");
  EXPECT_NEAR(repeated.low, once.low, 1e-12);
  EXPECT_NEAR(repeated.high, once.high, 1e-12);
}

}  // namespace
}  // namespace setrl::evaluate
