#include "verify/set_grader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/random.h"

namespace setrl::verify {
namespace {

Problem problem_of(std::vector<GoldAnswer> golds) {
  Problem problem;
  problem.golds = std::move(golds);
  return problem;
}

Verdict grade(const Problem& problem, const std::vector<std::string>& answers, bool abstention = false) {
  Verdict verdict;
  verdict.answers.answers = answers;
  SetGrader(abstention).grade(problem, verdict);
  return verdict;
}

using Flags = std::vector<std::uint8_t>;
using Matches = std::vector<std::int32_t>;

TEST(SetGrader, ComparesNormalisedTextAndAliases) {
  const auto problem = problem_of({{"Guillain-Barré syndrome", {"GBS"}, 0.6}, {"Acute otitis media", {}, 0.4}});
  const auto verdict = grade(problem, {"the ACUTE  otitis media.", "gbs", "otitis"});
  EXPECT_EQ(verdict.correct, (Flags{1, 1, 0}));
  EXPECT_EQ(verdict.matched_gold, (Matches{1, 0, -1}));
}

TEST(SetGrader, AGoldCountsOnceUnderTwoSpellings) {
  const auto problem = problem_of({{"Myocardial infarction", {"heart attack", "MI"}, -1}, {"Panic attack", {}, -1}});
  const auto verdict = grade(problem, {"heart attack", "MI", "panic attack"});
  EXPECT_EQ(verdict.correct, (Flags{1, 0, 1}));
  EXPECT_EQ(verdict.matched_gold, (Matches{0, 0, 1}));
}

TEST(SetGrader, EqualGoldsAreCountedSeparately) {
  const auto verdict = grade(problem_of({{"Anemia", {}, -1}, {"anemia", {}, -1}}), {"Anemia", "the anemia", "anemia!"});
  EXPECT_EQ(verdict.correct, (Flags{1, 1, 0}));
  EXPECT_EQ(verdict.matched_gold, (Matches{0, 1, 0}));
}

// "flu" fits both golds, "influenza" only the first: taking golds greedily would find one of them in one of the orders.
TEST(SetGrader, AnAmbiguousAnswerTakesTheGoldThatIsLeft) {
  const auto problem = problem_of({{"Influenza", {"flu"}, -1}, {"Stomach flu", {"flu"}, -1}});
  EXPECT_EQ(grade(problem, {"flu", "influenza"}).correct, (Flags{1, 1}));
  EXPECT_EQ(grade(problem, {"flu", "influenza"}).matched_gold, (Matches{1, 0}));
  EXPECT_EQ(grade(problem, {"influenza", "flu"}).correct, (Flags{1, 1}));
  EXPECT_EQ(grade(problem, {"influenza", "flu"}).matched_gold, (Matches{0, 1}));
}

TEST(SetGrader, NoneAbstainsWhereAllowedUnlessItIsAGold) {
  const auto problem = problem_of({{"Anemia", {}, -1}});
  EXPECT_EQ(grade(problem, {"None.", "anemia"}, true).matched_gold, (Matches{kAbstained, 0}));
  EXPECT_EQ(grade(problem, {"None.", "anemia"}, true).correct, (Flags{0, 1}));
  EXPECT_EQ(grade(problem, {"None.", "anemia"}, false).matched_gold, (Matches{-1, 0}));
  EXPECT_EQ(grade(problem_of({{"none", {}, -1}}), {"none", "none"}, true).matched_gold, (Matches{0, 0}));
}

TEST(SetGrader, NoGoldsMeansNothingIsRight) {
  EXPECT_EQ(grade(problem_of({}), {"a b", "c"}).matched_gold, (Matches{-1, -1}));
}

TEST(SetGrader, RefusesAMalformedText) {
  Verdict verdict;
  verdict.answers.malformed_reason = "no think block";
  EXPECT_THROW(SetGrader(false).grade(problem_of({}), verdict), BugError);
}

TEST(SetGrader, OnlyTasksWithAGraderAreAccepted) {
  RunConfig config;
  for (const std::string name : {"demo", "ddxplus", "hotpotqa"}) {
    config.task.name = name;
    EXPECT_NE(make_grader(config), nullptr);
  }
  config.task.name = "poetry";
  EXPECT_THROW(make_grader(config), UserError);
}

// The largest number of golds that distinct answers can take, by trying every assignment.
int most_golds(const std::vector<std::set<int>>& candidates, std::size_t answer, std::set<int>& taken) {
  if (answer == candidates.size()) return 0;
  int best = most_golds(candidates, answer + 1, taken);
  for (const int gold : candidates[answer]) {
    if (!taken.insert(gold).second) continue;
    best = std::max(best, 1 + most_golds(candidates, answer + 1, taken));
    taken.erase(gold);
  }
  return best;
}

// Random golds that share aliases. What must hold in every case: only real matches, a gold counts once, as many as
// possible, and the same number in every order of the answers.
TEST(SetGrader, HoldsItsPropertiesOnRandomSets) {
  RandomStream random(21, 0);
  int ambiguous = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    const auto golds = 1 + random.below(5), words = 1 + random.below(7), k = 1 + random.below(5);
    Problem problem;
    for (std::uint64_t g = 0; g < golds; ++g) {
      GoldAnswer gold{"word" + std::to_string(random.below(words)), {}, -1};
      while (random.uniform() < 0.5) gold.aliases.push_back("Word" + std::to_string(random.below(words)));
      problem.golds.push_back(gold);
    }
    std::vector<std::string> answers;
    std::vector<std::set<int>> candidates;
    for (std::uint64_t i = 0; i < k; ++i) {
      const auto digit = std::to_string(random.below(words + 1));
      answers.push_back("the WORD" + digit);
      std::set<int> fits;
      for (std::size_t g = 0; g < golds; ++g) {
        auto spellings = problem.golds[g].aliases;
        spellings.push_back(problem.golds[g].text);
        for (const auto& spelling : spellings) {
          if (spelling.substr(4) == digit) fits.insert(static_cast<int>(g));
        }
      }
      ambiguous += fits.size() > 1;
      candidates.push_back(fits);
    }
    const Verdict verdict = grade(problem, answers);
    std::set<int> counted, taken;
    for (std::size_t i = 0; i < k; ++i) {
      const int gold = verdict.matched_gold[i];
      EXPECT_EQ(gold >= 0, !candidates[i].empty());
      EXPECT_TRUE(gold < 0 || candidates[i].count(gold) == 1);
      EXPECT_TRUE(!verdict.correct[i] || counted.insert(gold).second) << "gold " << gold << " counted twice";
    }
    EXPECT_EQ(verdict.correct_count(), most_golds(candidates, 0, taken));
    random.shuffle(answers);
    EXPECT_EQ(grade(problem, answers).correct_count(), verdict.correct_count());
    if (HasFailure()) FAIL() << "trial " << trial;
  }
  EXPECT_GT(ambiguous, 1000);
}

// Values of HotPotQA's evaluation script (hotpot_evaluate_v1.py, f1_score) worked out by hand.
TEST(WordF1, IsTheOverlapOfBagsOfWords) {
  EXPECT_DOUBLE_EQ(word_f1("the Chief of Protocol", "Chief of Protocol."), 1);
  EXPECT_DOUBLE_EQ(word_f1("Conan Doyle", "Sir Arthur Conan Doyle"), 2 * 1.0 * 0.5 / 1.5);
  EXPECT_DOUBLE_EQ(word_f1("b b a c", "b c c"), 2 * (2.0 / 3) * (2.0 / 3) / (4.0 / 3));  // "a" is an article
  EXPECT_DOUBLE_EQ(word_f1("x", "y"), 0);
  EXPECT_DOUBLE_EQ(word_f1("yes", "Yes"), 1);
  EXPECT_DOUBLE_EQ(word_f1("yes", "yes it is"), 0);  // not 0.5
  EXPECT_DOUBLE_EQ(word_f1("no man", "no"), 0);
}

TEST(WordF1, IsReportedWhereAskedForAndTakesTheBestGold) {
  const Problem problem = problem_of({{"Sir Arthur Conan Doyle", {"Arthur Doyle"}, -1}});
  Verdict verdict;
  verdict.answers.answers = {"Doyle", "Sir Arthur Conan Doyle", "x"};
  SetGrader(false, true).grade(problem, verdict);
  ASSERT_EQ(verdict.f1.size(), 3u);
  EXPECT_DOUBLE_EQ(verdict.f1[0], 2.0 / 3);
  EXPECT_DOUBLE_EQ(verdict.f1[1], 1);
  EXPECT_DOUBLE_EQ(verdict.f1[2], 0);
  EXPECT_TRUE(grade(problem, {"Doyle"}).f1.empty());
}

}  // namespace
}  // namespace setrl::verify
