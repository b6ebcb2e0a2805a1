#include "text/answer_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace setrl::text {
namespace {

using ::testing::HasSubstr;

const Grammar kPlain{2, false, false, false};
const Grammar kCalibrated{2, true, false, false};
const std::string kGood =
    "<think>why</think>\n<answer1>Flu</answer1><confidence1>0.5</confidence1>\n"
    "<answer2>Cold</answer2><confidence2>.25</confidence2>";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Parse, ReadsAWellFormedSet) {
  const auto set = parse(kCalibrated, "  " + kGood + " \n", true);
  ASSERT_TRUE(set.well_formed()) << set.malformed_reason;
  EXPECT_EQ(set.think, "why");
  EXPECT_EQ(set.answers, (std::vector<std::string>{"Flu", "Cold"}));
  EXPECT_EQ(set.confidences, (std::vector<double>{0.5, 0.25}));
  const auto single =
      parse({1, true, false, false}, "<think></think><answer>x</answer><confidence>1</confidence>", true);
  ASSERT_TRUE(single.well_formed()) << single.malformed_reason;
  EXPECT_EQ(single.confidences, std::vector<double>{1});
}

TEST(Parse, TagsInTheThinkBlockDoNotCount) {
  const auto set =
      parse(kPlain, "<think><answer1>no</answer1></answer2></think><answer1>a1</answer1><answer2>b</answer2>", true);
  ASSERT_TRUE(set.well_formed()) << set.malformed_reason;
  EXPECT_EQ(set.answers[0], "a1");
}

TEST(Parse, EveryMalformationHasItsReason) {
  const auto reason = [](const std::string& text, bool ended = true) {
    return parse(kCalibrated, text, ended).malformed_reason;
  };
  EXPECT_THAT(reason(kGood, false), HasSubstr("truncated"));
  EXPECT_THAT(reason(""), HasSubstr("think block missing"));
  EXPECT_THAT(reason("x" + kGood), HasSubstr("think block missing"));
  EXPECT_THAT(reason(replaced(kGood, "</think>", "")), HasSubstr("think block not closed"));
  EXPECT_THAT(reason(replaced(kGood, "</think>", "</think>so:")), HasSubstr("answer 1 missing"));
  EXPECT_THAT(reason(replaced(kGood, "</think>", "</think><think></think>")), HasSubstr("answer 1 missing"));
  EXPECT_THAT(reason(replaced(kGood, "<answer2>", "<answer3>")), HasSubstr("answer 2 missing"));
  EXPECT_THAT(reason(replaced(kGood, "</answer1>", "")), HasSubstr("answer 1 not closed"));
  EXPECT_THAT(reason(replaced(kGood, "Flu", " ")), HasSubstr("answer 1 is empty"));
  EXPECT_THAT(reason(replaced(kGood, "Flu", "?!")), HasSubstr("answer 1 is empty"));
  EXPECT_THAT(reason(replaced(kGood, "Flu", "a <answer2>")), HasSubstr("answer 1 holds a tag"));
  EXPECT_THAT(reason(replaced(kGood, "Cold", "the FLU.")), HasSubstr("answer 2 repeats"));
  EXPECT_THAT(reason(replaced(kGood, "<confidence1>0.5</confidence1>", "")), HasSubstr("confidence 1 missing"));
  for (const char* bad : {"", "-0.1", "1.01", "nan", "inf", "1e-3", "50%", "0.5.5", ".", "0,5", "+0.5", "0x1"}) {
    EXPECT_THAT(reason(replaced(kGood, "0.5", bad)), HasSubstr("confidence 1 is not")) << bad;
  }
  EXPECT_THAT(reason(kGood + "bye"), HasSubstr("text after"));
  EXPECT_THAT(reason(kGood + "<answer3>x</answer3>"), HasSubstr("text after"));
  EXPECT_THAT(parse(kPlain, kGood, true).malformed_reason, HasSubstr("answer 2 missing"))
      << "confidences are not asked for";
  const auto malformed = parse(kCalibrated, kGood + "bye", true);
  EXPECT_TRUE(malformed.answers.empty() && malformed.confidences.empty());
}

TEST(Parse, AnalysisAndAbstentionOnlyWhereAllowed) {
  const std::string analysis = "<think></think><analysis>q</analysis><answer1>a1</answer1><answer2>b</answer2>";
  EXPECT_FALSE(parse(kPlain, analysis, true).well_formed());
  EXPECT_TRUE(parse({2, false, true, false}, analysis, true).well_formed());
  EXPECT_TRUE(parse({2, false, true, false},
                    "<think></think><answer1>a1</answer1><answer2>b</answer2><analysis>q</analysis>", true)
                  .well_formed());
  const std::string twice = "<think></think><answer1>none</answer1><answer2>None</answer2>";
  EXPECT_FALSE(parse(kPlain, twice, true).well_formed());
  EXPECT_TRUE(parse({2, false, false, true}, twice, true).well_formed());
}

TEST(Render, ParsesBackToTheSameSet) {
  RandomStream random(5, 6);
  for (int round = 0; round < 500; ++round) {
    Grammar grammar{static_cast<int>(random.below(6)) + 1, random.uniform() < 0.5, false, false};
    AnswerSet set;
    set.think = "because";
    for (int i = 0; i < grammar.k; ++i) {
      set.answers.push_back("answer number " + std::to_string(i) + (random.uniform() < 0.3 ? " é < b" : ""));
      if (grammar.confidences) set.confidences.push_back(std::round(random.uniform() * 100) / 100);
    }
    const auto back = parse(grammar, render(grammar, set), true);
    ASSERT_TRUE(back.well_formed()) << back.malformed_reason << "\n" << render(grammar, set);
    EXPECT_EQ(back.answers, set.answers);
    EXPECT_EQ(back.think, set.think);
    EXPECT_EQ(back.confidences.size(), set.confidences.size());
    for (std::size_t i = 0; i < set.confidences.size(); ++i)
      EXPECT_NEAR(back.confidences[i], set.confidences[i], 1e-12);
  }
}

// Random bytes and mutations of a good text: no crash, one verdict, and the invariants of the result.
TEST(Parse, NeverThrowsAndKeepsItsPromises) {
  RandomStream random(1, 2);
  int well_formed = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = round % 4 == 0 ? "" : kGood;
    const auto edits = random.below(4);
    for (std::uint64_t edit = 0; edit < edits && !text.empty(); ++edit) {
      const auto at = random.below(text.size());
      const auto kind = random.below(3);
      if (kind == 0)
        text.erase(at, 1 + random.below(5));
      else if (kind == 1)
        text.insert(at, 1, static_cast<char>(random.below(256)));
      else
        text.insert(at, text.substr(random.below(text.size()), random.below(20)));
    }
    if (round % 4 == 0) {
      for (auto length = random.below(60); length > 0; --length) text += static_cast<char>(random.below(256));
    }
    const auto set = parse(kCalibrated, text, true);
    const auto again = parse(kCalibrated, text, true);
    EXPECT_EQ(set.malformed_reason, again.malformed_reason);
    if (!set.well_formed()) continue;
    ++well_formed;
    ASSERT_EQ(set.answers.size(), 2u);
    ASSERT_EQ(set.confidences.size(), 2u);
    EXPECT_NE(normalise(set.answers[0]), normalise(set.answers[1]));
    for (const double q : set.confidences) EXPECT_TRUE(q >= 0 && q <= 1);
  }
  EXPECT_GT(well_formed, 2000);
  EXPECT_LT(well_formed, 15000);
}

TEST(Normalise, FoldsCaseArticlesPunctuationAndSpace) {
  EXPECT_EQ(normalise("  The  Possible NSTEMI / STEMI. "), "possible nstemi stemi");
  EXPECT_EQ(normalise("A an THE"), "");
  EXPECT_EQ(normalise("COVID-19"), "covid19");
  EXPECT_EQ(normalise("ÉCLAIR\u00a0Über\u2014x"), "éclair überx");
  EXPECT_EQ(normalise("theatre anaemia"), "theatre anaemia");
}

TEST(Instructions, ShowTheFormatThatParses) {
  for (const int k : {1, 3}) {
    const std::string text = instructions({k, true, false, false});
    EXPECT_THAT(text, HasSubstr(k == 1 ? "<answer>" : "<answer3>"));
    EXPECT_THAT(text, HasSubstr("exact match"));
    EXPECT_THAT(instructions({k, false, false, false}), ::testing::Not(HasSubstr("confidence")));
  }
}

}  // namespace
}  // namespace setrl::text
