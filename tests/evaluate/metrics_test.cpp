#include "evaluate/metrics.h"
#include "evaluate/aggregate.h"

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
        if (entry.contains("f1")) verdict.f1 = entry.at("f1").get<std::vector<double>>();
        if (entry.contains("logprob")) completion.logprobs = {entry.at("logprob").get<float>()};
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

void expect_equal(const std::map<std::string, double>& result, const nlohmann::json& expected) {
  EXPECT_EQ(result.size(), expected.size());
  for (const auto& [key, value] : expected.items()) {
    SCOPED_TRACE(key);
    ASSERT_EQ(result.count(key), 1u);
    if (value.is_null()) {
      EXPECT_TRUE(std::isnan(result.at(key))) << result.at(key);
    } else {
      EXPECT_NEAR(result.at(key), value.get<double>(), 1e-9);
    }
  }
}

TEST(Metrics, EqualAnIndependentCalculation) {
  const std::string path = std::string(std::getenv("SETRL_FIXTURES")) + "/evaluate/metrics.json";
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  const auto cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 15u);
  int aggregations = 0;
  for (const auto& item : cases) {
    SCOPED_TRACE(item.at("name").get<std::string>());
    const auto groups = groups_from(item.at("groups"));
    expect_equal(metrics(groups, item.at("k").get<int>()), item.at("expected"));
    if (!item.contains("aggregated")) continue;
    for (const auto& [kind, expected] : item.at("aggregated").items()) {
      SCOPED_TRACE(kind);
      const int k = item.at("chosen").get<int>();
      const auto chosen = kind == "best_of_n" ? Aggregation::best_of_n : Aggregation::self_consistency;
      expect_equal(metrics(aggregate(groups, chosen, k), k), expected);
      ++aggregations;
    }
  }
  EXPECT_EQ(aggregations, 8);
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

TEST(Curve, IsTheMeanOverChoicesOfCompletions) {
  // Three completions of 10 tokens: one finds gold 0, one gold 0 and 1, one nothing.
  const auto groups = {group_of(2, {graded({0, -1}, {1, 0}, {}), graded({0, 1}, {1, 1}, {}), malformed()})};
  const auto curve = curve_with_intervals(groups, 2, 0, 1);
  ASSERT_EQ(curve.size(), 3u);
  EXPECT_EQ(curve[1].completions, 2);
  EXPECT_EQ(curve[1].answers, 4);
  EXPECT_DOUBLE_EQ(curve[1].tokens, 20);
  EXPECT_DOUBLE_EQ(curve[0].coverage.value, 1);
  EXPECT_DOUBLE_EQ(curve[1].coverage.value, 1 + 2.0 / 3);  // gold 0 in every pair, gold 1 in two of three
  EXPECT_DOUBLE_EQ(curve[2].coverage.value, 2);
  EXPECT_DOUBLE_EQ(curve[0].solved.value, 2.0 / 3);
  EXPECT_DOUBLE_EQ(curve[1].solved.value, 1);
  EXPECT_DOUBLE_EQ(curve[1].unique_answers.value, 1 + 2.0 / 3 + 2.0 / 3);
}

// Twice the tokens for the same sets: the same coverage at equal answers, that of half the tokens at equal tokens.
TEST(Curve, CountsTokensAndAnswersApart) {
  RandomStream random(5, 0);
  auto groups = random_groups(20, 16, random);
  for (auto& group : groups) {
    for (auto& completion : group.completions) completion.tokens.assign(32, 1);
  }
  const auto brief = metrics(groups, 3);
  for (auto& group : groups) {
    for (auto& completion : group.completions) completion.tokens.assign(64, 1);
  }
  const auto wordy = metrics(groups, 3);
  EXPECT_EQ(brief.at("coverage_at_15"), wordy.at("coverage_at_15"));
  EXPECT_NEAR(brief.at("coverage_at_tokens_128"), wordy.at("coverage_at_tokens_256"), 1e-12);
  EXPECT_LT(wordy.at("coverage_at_tokens_128"), brief.at("coverage_at_tokens_128"));
}

TEST(Aggregate, SelfConsistencyVotes) {
  // Answers by gold 0, 1, 1, text "answer -1", malformed: gold 1 wins with 2 of 5.
  const auto groups = aggregate({group_of(2, {graded({0}, {1}, {0.9}), graded({1}, {1}, {0.2}), graded({1}, {1}, {0.3}),
                                              graded({-1}, {0}, {0.8}), malformed()})},
                                Aggregation::self_consistency, 2);
  ASSERT_EQ(groups[0].verdicts.size(), 1u);
  const Verdict& verdict = groups[0].verdicts[0];
  EXPECT_EQ(verdict.matched_gold, (std::vector<std::int32_t>{1, 0}));  // one vote each: the more confident one
  EXPECT_EQ(verdict.answers.confidences, (std::vector<double>{0.4, 0.2}));
  EXPECT_EQ(groups[0].completions[0].tokens.size(), 50u);
}

TEST(Aggregate, BestOfNTakesTheMostConfident) {
  const auto groups =
      aggregate({group_of(2, {graded({0}, {1}, {0.3}), graded({1}, {1}, {0.2}), graded({1}, {1}, {0.7})})},
                Aggregation::best_of_n, 1);
  EXPECT_EQ(groups[0].verdicts[0].matched_gold, std::vector<std::int32_t>{1});
  EXPECT_EQ(groups[0].verdicts[0].answers.confidences, std::vector<double>{0.7});
}

TEST(Aggregate, WithoutConfidencesTheLikelierCompletionWins) {
  auto group = group_of(2, {graded({0}, {1}, {}), graded({1}, {1}, {})});
  group.completions[0].logprobs = {-1, -2};
  group.completions[1].logprobs = {-0.5F, -2};
  const auto groups = aggregate({group}, Aggregation::best_of_n, 1);
  EXPECT_EQ(groups[0].verdicts[0].matched_gold, std::vector<std::int32_t>{1});
  EXPECT_TRUE(groups[0].verdicts[0].answers.confidences.empty());
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
  // Chosen from all completions they keep their identity: 11 (voted twice), then the first two of the others.
  const auto chosen = metrics(aggregate({group}, Aggregation::self_consistency, 3), 3);
  EXPECT_EQ(chosen.at("unique_correct"), 2);
  EXPECT_EQ(chosen.at("unique_answers"), 3);
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
