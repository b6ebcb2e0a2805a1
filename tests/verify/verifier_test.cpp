// The whole path from a completion's text to its verdict.
#include "verify/verifier.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/random.h"

namespace setrl::verify {
namespace {

const std::vector<std::string> kNames = {"Pneumonia", "Acute bronchitis",   "Bronchiectasis",      "Tuberculosis",
                                         "Influenza", "Pulmonary embolism", "Asthma exacerbation", "Larynx spasm"};

Problem problem_of_golds(int golds) {
  Problem problem;
  problem.id = "demo/test/1";
  for (int i = 0; i < golds; ++i) {
    problem.golds.push_back({kNames[static_cast<std::size_t>(i)], {"alias of " + std::to_string(i)}, -1});
  }
  return problem;
}

RunConfig config_of(const std::string& kind, int k) {
  RunConfig config;
  config.reward.kind = kind;
  config.task.k = k;
  return config;
}

std::string text_of(const RunConfig& config, const std::vector<std::string>& answers,
                    const std::vector<double>& confidences) {
  AnswerSet set;
  set.think = "Fever and cough for 3 days. <answer1>not here</answer1>";
  set.answers = answers;
  set.confidences = confidences;
  return text::render(text::grammar_of(config), set);
}

TEST(Verifier, GradesAndScoresASet) {
  const RunConfig config = config_of("rlcr", 3);
  const auto text = text_of(config, {"pneumonia", "Asthma exacerbation", "the acute bronchitis"}, {0.8, 0.5, 0.7});
  const Verdict verdict = Verifier(config).verify(problem_of_golds(3), text, true, 50);
  ASSERT_EQ(verdict.outcome, Outcome::graded) << verdict.answers.malformed_reason;
  EXPECT_EQ(verdict.correct, (std::vector<std::uint8_t>{1, 0, 1}));
  EXPECT_EQ(verdict.matched_gold, (std::vector<std::int32_t>{0, -1, 1}));
  EXPECT_NEAR(verdict.total, 0.5 + 0.5 * 2 + 0.5 * (1 - 0.38 / 3), 1e-12);
}

TEST(Verifier, HandWrittenTexts) {
  const Problem problem = problem_of_golds(2);
  const Verifier multi(config_of("rlvr", 2)), single(config_of("rlcr", 1));
  EXPECT_DOUBLE_EQ(
      multi.verify(problem, "<think>x</think><answer1>Pneumonia</answer1><answer2>Flu</answer2>", true, 9).total, 1.0);
  EXPECT_NEAR(
      single.verify(problem, "<think>x</think>\n<answer>Pneumonia</answer>\n<confidence>0.9</confidence>", true, 9)
          .total,
      0.5 + 0.5 + 0.5 * 0.99, 1e-12);
  // A text of the other format, one answer less, a truncated text.
  EXPECT_EQ(multi.verify(problem, "<think>x</think><answer>Pneumonia</answer>", true, 9).outcome, Outcome::bad_format);
  EXPECT_EQ(multi.verify(problem, "<think>x</think><answer1>Pneumonia</answer1>", true, 9).outcome,
            Outcome::bad_format);
  const Verdict truncated =
      multi.verify(problem, "<think>x</think><answer1>Pneumonia</answer1><answer2>Flu</answer2>", false, 9);
  EXPECT_EQ(truncated.outcome, Outcome::bad_format);
  EXPECT_EQ(truncated.total, 0);
}

TEST(Verifier, LengthCountsInTokensOfTheLimit) {
  RunConfig config = config_of("rlvr", 1);
  config.reward.length_weight = 0.2;
  config.reward.length_soft = 0.5;
  config.rollout.max_new_tokens = 100;
  const Verifier verifier(config);
  const std::string text = text_of(config, {"Pneumonia"}, {});
  EXPECT_DOUBLE_EQ(verifier.verify(problem_of_golds(1), text, true, 50).total, 1);
  EXPECT_DOUBLE_EQ(verifier.verify(problem_of_golds(1), text, true, 75).total, 0.9);
}

TEST(Verifier, AbstentionsMayRepeat) {
  RunConfig config = config_of("rlcr", 3);
  config.reward.abstention = true;
  config.reward.wrong_penalty = 1;
  const Verdict verdict =
      Verifier(config).verify(problem_of_golds(1), text_of(config, {"Pneumonia", "none", "none"}, {1, 0, 0}), true, 50);
  ASSERT_EQ(verdict.outcome, Outcome::graded) << verdict.answers.malformed_reason;
  EXPECT_EQ(verdict.matched_gold, (std::vector<std::int32_t>{0, kAbstained, kAbstained}));
  EXPECT_NEAR(verdict.total, 0.5 + 0.5 + 0.5 * (1 - 2 * 0.25 / 3), 1e-12);
}

// `auto`: confidences may not sum to more than 1 where a problem has one gold, under either preset.
TEST(Verifier, ConfidenceSumIsLimitedByItselfWhereThereIsOneGold) {
  RunConfig config = config_of("rlcr", 2);
  const auto total = [&] {
    return Verifier(config).verify(problem_of_golds(1), text_of(config, {"Pneumonia", "x"}, {0.9, 0.2}), true, 9).total;
  };
  const double whole = 0.5 + 0.5 + 0.5 * (1 - 0.05 / 2);
  EXPECT_NEAR(total(), whole, 1e-12);
  config.task.true_pathology_only = true;
  EXPECT_NEAR(total(), 1, 1e-12);
  config.reward.confidence_sum = "free";
  EXPECT_NEAR(total(), whole, 1e-12);
  config.reward.confidence_sum = "auto";
  config.task.true_pathology_only = false;
  config.task.name = "hotpotqa";
  EXPECT_NEAR(total(), 1, 1e-12);
  config.task.name = "jsonl";
  EXPECT_EQ(reward_of(config).confidence_sum, "auto");
}

TEST(Verifier, BadOptionsAreReportedBeforeTheFirstText) {
  RunConfig config = config_of("rlcr", 3);
  config.reward.correctness = "most";
  EXPECT_THROW(Verifier{config}, UserError);
  config = config_of("rlcr", 3);
  config.task.name = "poetry";
  EXPECT_THROW(Verifier{config}, UserError);
}

// Answers written in another order get the same verdicts in that order, and the same reward. An answer that repeats a
// gold under its alias may lose the credit to the other spelling: there the golds counted are the same.
TEST(Verifier, PermutingSlotsPermutesVerdicts) {
  RandomStream random(31, 0);
  int duplicates = 0;
  for (int trial = 0; trial < 500; ++trial) {
    RunConfig config = config_of(trial % 3 == 0 ? "rlvr" : "rlcr", 2 + static_cast<int>(random.below(4)));
    config.reward.preset = random.uniform() < 0.5 ? "paper" : "released";
    config.reward.count_weight = 0.3;
    const auto k = static_cast<std::size_t>(config.task.k);
    const Problem problem = problem_of_golds(4);
    std::vector<std::string> pool = kNames;
    for (int i = 0; i < 4; ++i) pool.push_back("alias of " + std::to_string(i));
    random.shuffle(pool);
    std::vector<std::string> answers(pool.begin(), pool.begin() + static_cast<std::ptrdiff_t>(k));
    std::vector<double> confidences;
    for (std::size_t i = 0; i < k; ++i) confidences.push_back(static_cast<double>(random.below(101)) / 100);
    std::vector<std::size_t> order(k);
    std::iota(order.begin(), order.end(), std::size_t{0});
    random.shuffle(order);
    std::vector<std::string> moved_answers;
    std::vector<double> moved_confidences;
    for (const auto from : order) {
      moved_answers.push_back(answers[from]);
      moved_confidences.push_back(confidences[from]);
    }
    const Verifier verifier(config);
    const Verdict original = verifier.verify(problem, text_of(config, answers, confidences), true, 9);
    const Verdict moved = verifier.verify(problem, text_of(config, moved_answers, moved_confidences), true, 9);
    ASSERT_EQ(original.outcome, Outcome::graded) << original.answers.malformed_reason;
    bool repeats = false;
    for (std::size_t i = 0; i < k; ++i) repeats = repeats || (original.matched_gold[i] >= 0 && !original.correct[i]);
    duplicates += repeats;
    std::set<std::int32_t> golds, moved_golds;
    for (std::size_t i = 0; i < k; ++i) {
      EXPECT_EQ(moved.matched_gold[i], original.matched_gold[order[i]]);
      EXPECT_TRUE(repeats || moved.correct[i] == original.correct[order[i]]);
      if (original.correct[i]) golds.insert(original.matched_gold[i]);
      if (moved.correct[i]) moved_golds.insert(moved.matched_gold[i]);
    }
    EXPECT_EQ(golds, moved_golds);
    const bool same_total = !repeats || config.reward.kind == "rlvr";
    EXPECT_TRUE(!same_total || std::abs(moved.total - original.total) < 1e-12);
    if (HasFailure()) FAIL() << "trial " << trial;
  }
  EXPECT_GT(duplicates, 50);
  EXPECT_LT(duplicates, 400);
}

std::string random_piece(RandomStream& random) {
  static const std::vector<std::string> pieces = {"<think>",
                                                  "</think>",
                                                  "<answer1>",
                                                  "</answer1>",
                                                  "<answer2>",
                                                  "</answer2>",
                                                  "<answer>",
                                                  "</answer>",
                                                  "<confidence1>",
                                                  "</confidence1>",
                                                  "<confidence2>",
                                                  "</confidence2>",
                                                  "<analysis>",
                                                  "</analysis>",
                                                  "0.5",
                                                  "1e-3",
                                                  "nan",
                                                  "inf",
                                                  "-0",
                                                  "1.0000001",
                                                  " ",
                                                  "\n",
                                                  "none",
                                                  "Pneumonia",
                                                  "\xff\xfe",
                                                  "\xc3",
                                                  std::string(1, '\0'),
                                                  "<",
                                                  ">",
                                                  "</",
                                                  "0x1p-2",
                                                  "\u200b",
                                                  "\u00e9"};
  return pieces[random.below(pieces.size())];
}

// One random edit: delete, repeat, insert, overwrite, or swap spans.
std::string mutated(std::string text, RandomStream& random) {
  const auto place = [&] { return static_cast<std::size_t>(random.below(text.size() + 1)); };
  const std::size_t at = place(), length = 1 + random.below(12);
  switch (random.below(5)) {
    case 0: return text.erase(at, length);
    case 1: return text.insert(place(), text.substr(at, length));
    case 2: return text.insert(at, random_piece(random));
    case 3:
      if (at < text.size()) text[at] = static_cast<char>(random.below(256));
      return text;
    default: return text.substr(at) + text.substr(0, at);
  }
}

// What must hold for any text whatsoever.
void expect_sound(const RunConfig& config, const Problem& problem, const Verdict& verdict) {
  const auto k = static_cast<std::size_t>(config.task.k);
  double sum = 0;
  for (const auto& term : verdict.terms) sum += term.value;
  EXPECT_DOUBLE_EQ(sum, verdict.total);
  EXPECT_TRUE(std::isfinite(verdict.total));
  if (verdict.outcome == Outcome::bad_format) {
    EXPECT_FALSE(verdict.answers.well_formed());
    EXPECT_EQ(verdict.total, 0);
    EXPECT_EQ(verdict.correct_count(), 0);
    return;
  }
  EXPECT_EQ(verdict.outcome, Outcome::graded);
  EXPECT_EQ(verdict.answers.answers.size(), k);
  EXPECT_EQ(verdict.answers.confidences.size(), config.reward.kind == "rlcr" ? k : 0);
  for (const double q : verdict.answers.confidences) EXPECT_TRUE(q >= 0 && q <= 1) << q;
  ASSERT_EQ(verdict.correct.size(), k);
  ASSERT_EQ(verdict.matched_gold.size(), k);
  std::set<std::int32_t> golds;
  for (std::size_t i = 0; i < k; ++i) {
    EXPECT_LT(verdict.matched_gold[i], static_cast<std::int32_t>(problem.golds.size()));
    EXPECT_TRUE(!verdict.correct[i] || (verdict.matched_gold[i] >= 0 && golds.insert(verdict.matched_gold[i]).second));
  }
  const double most = config.reward.format_weight + config.reward.correct_weight * static_cast<double>(k) +
                      config.reward.calibration_weight;
  EXPECT_LE(verdict.total, most + 1e-12);
}

TEST(Verifier, SurvivesMutationsOfWellFormedTexts) {
  RandomStream random(41, 0);
  int graded = 0, malformed = 0;
  for (int trial = 0; trial < 6000; ++trial) {
    RunConfig config = config_of(random.uniform() < 0.3 ? "rlvr" : "rlcr", 1 + static_cast<int>(random.below(4)));
    config.reward.abstention = random.uniform() < 0.3;
    config.reward.wrong_penalty = 0.5;
    config.reward.count_weight = 0.2;
    config.reward.length_weight = 0.1;
    const Problem problem = problem_of_golds(static_cast<int>(random.below(5)));
    const auto k = static_cast<std::ptrdiff_t>(config.task.k);
    std::vector<std::string> pool = kNames;
    random.shuffle(pool);
    std::vector<double> confidences;
    for (int i = 0; i < config.task.k; ++i) confidences.push_back(static_cast<double>(random.below(101)) / 100);
    std::string text = text_of(config, {pool.begin(), pool.begin() + k}, confidences);
    for (auto edits = random.below(4); edits > 0; --edits) text = mutated(text, random);
    const Verdict verdict =
        Verifier(config).verify(problem, text, random.uniform() < 0.95, static_cast<std::int64_t>(random.below(400)));
    expect_sound(config, problem, verdict);
    ++(verdict.outcome == Outcome::graded ? graded : malformed);
    if (HasFailure()) FAIL() << "trial " << trial << ":\n" << text;
  }
  EXPECT_GT(graded, 1200);  // a quarter is not edited at all
  EXPECT_GT(malformed, 1200);
}

TEST(Verifier, SurvivesRandomTexts) {
  RandomStream random(42, 0);
  const Problem problem = problem_of_golds(2);
  for (const std::string kind : {"rlvr", "rlcr"}) {
    const RunConfig config = config_of(kind, 2);
    const Verifier verifier(config);
    for (int trial = 0; trial < 3000; ++trial) {
      std::string text;
      for (auto pieces = random.below(25); pieces > 0; --pieces) {
        text += random.uniform() < 0.9 ? random_piece(random) : std::string(1, static_cast<char>(random.below(256)));
      }
      expect_sound(config, problem, verifier.verify(problem, text, true, 9));
      if (HasFailure()) FAIL() << "trial " << trial << ":\n" << text;
    }
    expect_sound(config, problem, verifier.verify(problem, "", true, 0));
    expect_sound(config, problem, verifier.verify(problem, std::string(1 << 20, '<'), true, 9));
  }
}

}  // namespace
}  // namespace setrl::verify
