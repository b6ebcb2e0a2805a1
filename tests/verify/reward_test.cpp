// Every term and option of the reward, by hand-calculated values and against an independent calculation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "graded_sets.h"
#include "verify/reward_terms.h"

namespace setrl::verify {
namespace {

using testing::graded;
using ::testing::HasSubstr;
using testing::total_of;

double term(const Verdict& verdict, const std::string& name) {
  for (const auto& entry : verdict.terms) {
    if (entry.name == name) return entry.value;
  }
  ADD_FAILURE() << "no term " << name;
  return 0;
}

std::vector<std::string> names_of(const Verdict& verdict) {
  std::vector<std::string> names;
  for (const auto& entry : verdict.terms) names.push_back(entry.name);
  return names;
}

Verdict scored(const RewardSection& reward, Verdict verdict, int k, double length_fraction = 0.5) {
  text::Grammar grammar;
  grammar.k = k;
  grammar.confidences = reward.kind == "rlcr";
  score(reward, grammar, length_fraction, verdict);
  return verdict;
}

RewardSection kind(const std::string& name) {
  RewardSection reward;
  reward.kind = name;
  return reward;
}

TEST(Reward, EqualsAnIndependentCalculation) {
  const std::string path = std::string(std::getenv("SETRL_FIXTURES")) + "/verify/rewards.json";
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  const auto cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 240u);
  for (const auto& item : cases) {
    SCOPED_TRACE(item.dump());
    const auto& option = item.at("option");
    RewardSection reward;
    reward.kind = option.at("kind");
    reward.preset = option.at("preset");
    reward.correctness = option.at("correctness");
    reward.confidence_sum = option.at("confidence_sum");
    reward.format_weight = option.at("format_weight");
    reward.correct_weight = option.at("correct_weight");
    reward.calibration_weight = option.at("calibration_weight");
    reward.count_weight = option.at("count_weight");
    reward.abstention = option.at("abstention");
    reward.wrong_penalty = option.at("wrong_penalty");
    reward.length_weight = option.at("length_weight");
    reward.length_soft = option.at("length_soft");
    auto outcomes = item.at("correct").get<std::vector<int>>();
    const auto abstained = item.at("abstained").get<std::vector<int>>();
    for (std::size_t i = 0; i < outcomes.size(); ++i) outcomes[i] = abstained[i] ? -1 : outcomes[i];
    const Verdict verdict = scored(reward, graded(outcomes, item.at("confidences").get<std::vector<double>>()),
                                   static_cast<int>(outcomes.size()), item.at("length_fraction"));
    ASSERT_EQ(verdict.terms.size(), item.at("terms").size());
    for (const auto& [name, value] : item.at("terms").items()) {
      EXPECT_NEAR(term(verdict, name), value.get<double>(), 1e-12) << name;
    }
    EXPECT_NEAR(verdict.total, item.at("total").get<double>(), 1e-12);
  }
}

TEST(Reward, PaperPreset) {
  // Two of three right; B = (0.04 + 0.25 + 0.09) / 3.
  const double brier = 0.38 / 3;
  EXPECT_NEAR(total_of(kind("rlcr"), {1, 0, 1}, {0.8, 0.5, 0.7}), 0.5 + 0.5 * 2 + 0.5 * (1 - brier), 1e-12);
  EXPECT_NEAR(total_of(kind("rlvr"), {1, 0, 1}, {}), 0.5 + 0.5 * 2, 1e-12);
}

TEST(Reward, SingleAnswerIsTheCaseOfOne) {
  EXPECT_NEAR(total_of(kind("rlcr"), {1}, {0.7}), 0.5 + 0.5 + 0.5 * (1 - 0.09), 1e-12);
  EXPECT_NEAR(total_of(kind("rlcr"), {0}, {0.7}), 0.5 + 0.5 * (1 - 0.49), 1e-12);
  EXPECT_NEAR(total_of(kind("rlvr"), {1}, {}), 1, 1e-12);
  for (const std::string correctness : {"sum", "mean", "any"}) {
    RewardSection reward = kind("rlcr");
    reward.correctness = correctness;
    EXPECT_NEAR(total_of(reward, {1}, {0.7}), total_of(kind("rlcr"), {1}, {0.7}), 1e-12);
  }
}

TEST(Reward, CorrectnessKinds) {
  RewardSection reward = kind("rlvr");
  reward.correctness = "sum";
  EXPECT_DOUBLE_EQ(total_of(reward, {1, 1, 0, 0}, {}), 1.5);
  reward.correctness = "mean";
  EXPECT_DOUBLE_EQ(total_of(reward, {1, 1, 0, 0}, {}), 0.75);
  reward.correctness = "any";
  EXPECT_DOUBLE_EQ(total_of(reward, {1, 1, 0, 0}, {}), 1.0);
  EXPECT_DOUBLE_EQ(total_of(reward, {0, 0, 0, 0}, {}), 0.5);
}

TEST(Reward, ReleasedPresetCountsAnyAndLosesCalibrationAboveOne) {
  RewardSection reward = kind("rlcr");
  reward.preset = "released";
  // any: two right count as one. The sum is exactly one up to rounding: calibration is kept.
  EXPECT_NEAR(total_of(reward, {1, 1, 0}, {0.1, 0.2, 0.7}), 0.5 + 0.5 + 0.5 * (1 - (0.81 + 0.64 + 0.49) / 3), 1e-12);
  EXPECT_NEAR(total_of(reward, {1, 1, 0}, {0.1, 0.21, 0.7}), 0.5 + 0.5, 1e-12);
  // Either part of the preset can be overridden.
  reward.confidence_sum = "free";
  EXPECT_GT(total_of(reward, {1, 1, 0}, {0.1, 0.21, 0.7}), 1.1);
  reward.correctness = "sum";
  EXPECT_NEAR(total_of(reward, {1, 1, 0}, {1, 1, 0}), 0.5 + 1 + 0.5, 1e-12);
  RewardSection paper = kind("rlcr");
  EXPECT_NEAR(total_of(paper, {1, 1, 0}, {1, 1, 0}), 2, 1e-12);
  paper.confidence_sum = "at_most_one";
  EXPECT_NEAR(total_of(paper, {1, 1, 0}, {1, 1, 0}), 1.5, 1e-12);
}

TEST(Reward, EveryWeightScalesItsOwnTermOnly) {
  RewardSection reward = kind("rlcr");
  reward.count_weight = 0.4;
  reward.length_weight = 0.2;
  reward.abstention = true;
  reward.wrong_penalty = 0.5;
  const Verdict base = scored(reward, graded({1, 0, -1}, {0.6, 0.3, 0.5}), 3, 0.9);
  const std::vector<std::pair<std::string, double RewardSection::*>> weights = {
      {"format", &RewardSection::format_weight},
      {"calibration", &RewardSection::calibration_weight},
      {"count", &RewardSection::count_weight},
      {"length", &RewardSection::length_weight}};
  for (const auto& [name, member] : weights) {
    RewardSection doubled = reward;
    doubled.*member *= 2;
    const Verdict changed = scored(doubled, graded({1, 0, -1}, {0.6, 0.3, 0.5}), 3, 0.9);
    EXPECT_NE(term(base, name), 0) << name;
    EXPECT_NEAR(changed.total - base.total, term(base, name), 1e-12) << name;
  }
  RewardSection doubled = reward;
  doubled.correct_weight *= 2;  // also prices wrong answers
  const Verdict changed = scored(doubled, graded({1, 0, -1}, {0.6, 0.3, 0.5}), 3, 0.9);
  EXPECT_NEAR(changed.total - base.total, term(base, "correct") + term(base, "abstention"), 1e-12);
}

TEST(Reward, TermsSumToTheTotalAndDependOnOptionsOnly) {
  RewardSection reward = kind("rlcr");
  EXPECT_EQ(names_of(scored(reward, graded({1, 0}, {0.5, 0.5}), 2)),
            (std::vector<std::string>{"format", "correct", "calibration"}));
  EXPECT_EQ(names_of(scored(kind("rlvr"), graded({1, 0}, {}), 2)), (std::vector<std::string>{"format", "correct"}));
  reward.count_weight = 1;
  reward.abstention = true;
  reward.length_weight = 1;
  const Verdict whole = scored(reward, graded({1, 0}, {0.5, 0.5}), 2);
  EXPECT_EQ(names_of(whole),
            (std::vector<std::string>{"format", "correct", "calibration", "count", "abstention", "length"}));
  Verdict broken;
  broken.answers.malformed_reason = "answer 2 is missing";
  EXPECT_EQ(names_of(scored(reward, broken, 2)), names_of(whole));
  double sum = 0;
  for (const auto& entry : whole.terms) sum += entry.value;
  EXPECT_DOUBLE_EQ(sum, whole.total);
}

TEST(Reward, MalformedIsWorthNothing) {
  Verdict verdict = graded({1, 1}, {1, 1});
  verdict.answers.malformed_reason = "text after the last tag";
  RewardSection reward = kind("rlcr");
  reward.length_weight = 1;
  verdict = scored(reward, verdict, 2, 1.0);
  EXPECT_EQ(verdict.outcome, Outcome::bad_format);
  EXPECT_EQ(verdict.total, 0);
  EXPECT_EQ(verdict.correct_count(), 0);
  for (const auto& entry : verdict.terms) EXPECT_EQ(entry.value, 0);
}

TEST(Reward, AnInfrastructureFailureStaysOne) {
  Verdict verdict;
  verdict.outcome = Outcome::infrastructure_failure;
  verdict.answers.answers = {"a", "b"};
  verdict.answers.confidences = {0.5, 0.5};
  verdict = scored(kind("rlcr"), verdict, 2);
  EXPECT_EQ(verdict.outcome, Outcome::infrastructure_failure);
  EXPECT_EQ(verdict.total, 0);
}

// The constant 1 in 1 - B: otherwise a confidently wrong set would gain by breaking its format.
TEST(Reward, AWellFormedWrongSetIsNeverWorthLessThanAMalformedOne) {
  RewardSection reward = kind("rlcr");
  reward.format_weight = 0;
  EXPECT_EQ(total_of(reward, {0, 0, 0}, {1, 1, 1}), 0);
  EXPECT_GT(total_of(reward, {0, 0, 0}, {1, 1, 0.9}), 0);
}

TEST(Reward, CountTermIsTheSquaredErrorOfTheSum) {
  RewardSection reward = kind("rlcr");
  reward.count_weight = 0.25;
  const Verdict verdict = scored(reward, graded({1, 1, 1, 0}, {0.5, 0.25, 0.25, 0}), 4);
  EXPECT_NEAR(term(verdict, "count"), -0.25 * (1.0 - 3.0) * (1.0 - 3.0) / 16, 1e-12);
  reward.kind = "rlvr";
  EXPECT_EQ(names_of(scored(reward, graded({1, 1, 1, 0}, {}), 4)).size(), 2u);
}

TEST(Reward, OverlongPenaltyIsLinearFromTheSoftLimit) {
  RewardSection reward = kind("rlvr");
  reward.length_weight = 0.4;
  reward.length_soft = 0.5;
  EXPECT_DOUBLE_EQ(total_of(reward, {1}, {}, 0.5), 1);
  EXPECT_DOUBLE_EQ(total_of(reward, {1}, {}, 0.75), 0.8);
  EXPECT_DOUBLE_EQ(total_of(reward, {1}, {}, 1.0), 0.6);
  EXPECT_DOUBLE_EQ(total_of(reward, {1}, {}, 3.0), 0.6);
  reward.length_soft = 1;
  EXPECT_DOUBLE_EQ(total_of(reward, {1}, {}, 1.0), 1);
}

TEST(Reward, WrongAnswersCostOnlyWhereAbstentionIsAllowed) {
  RewardSection reward = kind("rlvr");
  reward.wrong_penalty = 0.5;
  EXPECT_DOUBLE_EQ(total_of(reward, {1, 0, 0}, {}), 1);
  reward.abstention = true;
  EXPECT_DOUBLE_EQ(total_of(reward, {1, 0, 0}, {}), 0.5);
  EXPECT_DOUBLE_EQ(total_of(reward, {1, 0, -1}, {}), 0.75);
  EXPECT_DOUBLE_EQ(total_of(reward, {1, -1, -1}, {}), 1);
  reward.correctness = "mean";
  EXPECT_DOUBLE_EQ(total_of(reward, {1, 0, -1}, {}), 0.5 + 0.5 * (1 - 0.5) / 3);
  reward.correctness = "any";
  EXPECT_DOUBLE_EQ(total_of(reward, {1, 0, 0}, {}), 1);      // the set is right
  EXPECT_DOUBLE_EQ(total_of(reward, {0, 0, -1}, {}), 0.25);  // the set is wrong, once
  EXPECT_DOUBLE_EQ(total_of(reward, {-1, -1, -1}, {}), 0.5);
}

TEST(Reward, AnAbstentionsConfidenceIsIgnored) {
  RewardSection reward = kind("rlcr");
  reward.abstention = true;
  reward.wrong_penalty = 0.5;
  reward.count_weight = 1;
  reward.confidence_sum = "at_most_one";
  EXPECT_DOUBLE_EQ(total_of(reward, {1, -1}, {0.8, 0.0}), total_of(reward, {1, -1}, {0.8, 1.0}));
}

TEST(Reward, UnknownNamesAreUserErrors) {
  const std::vector<std::pair<std::string, std::string RewardSection::*>> keys = {
      {"reward.kind", &RewardSection::kind},
      {"reward.preset", &RewardSection::preset},
      {"reward.correctness", &RewardSection::correctness},
      {"reward.confidence_sum", &RewardSection::confidence_sum}};
  for (const auto& [key, member] : keys) {
    RewardSection reward;
    reward.*member = "sometimes";
    try {
      resolve(reward);
      FAIL() << key;
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(key));
    }
  }
}

TEST(Reward, UngradedSetsAreBugs) {
  Verdict verdict = graded({1, 0}, {0.5, 0.5});
  verdict.correct.clear();
  EXPECT_THROW(scored(kind("rlcr"), verdict, 2), BugError);
  EXPECT_THROW(scored(kind("rlcr"), graded({1, 0}, {0.5, 0.5}), 3), BugError);
  EXPECT_THROW(scored(kind("rlcr"), graded({1, 0}, {}), 2), BugError);
}

}  // namespace
}  // namespace setrl::verify
