#include "text/answer_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
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
    const auto set = parse(kCalibrated, text, ended);
    EXPECT_TRUE(set.well_formed() || (set.answers.empty() && set.confidences.empty())) << text;
    return set.malformed_reason;
  };
  EXPECT_EQ(reason(kGood), "");
  EXPECT_THAT(reason(kGood, false), HasSubstr("truncated"));
  EXPECT_EQ(reason(""), "think block missing: the text ends where <think> is expected");
  EXPECT_EQ(reason("x" + kGood), "think block missing: other text where <think> is expected");
  EXPECT_EQ(reason(replaced(kGood, "<think>why</think>", "")),
            "think block missing: <answer1> where <think> is expected");
  EXPECT_THAT(reason(replaced(kGood, "</think>", "")), HasSubstr("think block not closed"));
  EXPECT_EQ(reason("<think>why"), "think block not closed: expected </think>");
  EXPECT_EQ(reason(replaced(kGood, "</think>", "</think>so:")),
            "answer 1 missing: other text where <answer1> is expected");
  EXPECT_EQ(reason(replaced(kGood, "</think>", "</think><think></think>")),
            "answer 1 missing: a second think block where <answer1> is expected");
  EXPECT_EQ(reason(replaced(kGood, "</think>", "</think></think>")),
            "answer 1 missing: a second </think> where <answer1> is expected");
  EXPECT_EQ(reason(replaced(kGood, "</think>", "</think><analysis>a</analysis>")),
            "answer 1 missing: an analysis block where <answer1> is expected");
  EXPECT_EQ(reason(replaced(kGood, "<answer1>", "<answer2>")),
            "answer 1 missing: <answer2> where <answer1> is expected");
  EXPECT_EQ(reason(replaced(kGood, "<answer2>", "<answer3>")),
            "answer 2 missing: <answer3> where <answer2> is expected");
  EXPECT_EQ(reason(replaced(kGood, "<answer1>", "<answer>")), "answer 1 missing: <answer> where <answer1> is expected");
  EXPECT_THAT(reason(replaced(kGood, "<answer1>", "<answer123456789>")), HasSubstr("other text where <answer1>"));
  EXPECT_EQ(reason(kGood.substr(0, kGood.find("\n<answer2>"))),
            "answer 2 missing: the text ends where <answer2> is expected");
  EXPECT_EQ(reason(replaced(kGood, "</answer1>", "")), "answer 1 not closed: expected </answer1>");
  EXPECT_EQ(reason(replaced(kGood, "</confidence2>", "")), "confidence 2 not closed: expected </confidence2>");
  EXPECT_EQ(reason(replaced(kGood, "Flu", " ")), "answer 1 is empty");
  EXPECT_EQ(reason(replaced(kGood, "Flu", "?!")), "answer 1 is empty");
  EXPECT_EQ(reason(replaced(kGood, "Flu", "")), "answer 1 is empty");
  EXPECT_EQ(reason(replaced(kGood, "Flu", "a <answer2>")), "answer 1 holds a tag (<answer)");
  EXPECT_EQ(reason(replaced(kGood, "Flu", "a </think>")), "answer 1 holds a tag (</think>)");
  EXPECT_EQ(reason(replaced(kGood, "Cold", "the FLU.")), "answer 2 repeats answer 1");
  EXPECT_EQ(reason(replaced(kGood, "<confidence1>0.5</confidence1>", "")),
            "confidence 1 missing: <answer2> where <confidence1> is expected");
  EXPECT_EQ(reason(replaced(kGood, "<confidence1>", "so <confidence1>")),
            "confidence 1 missing: other text where <confidence1> is expected");
  for (const char* bad : {"", "-0.1", "nan", "inf", "1e-3", "50%", "0.5.5", ".", "0,5", "+0.5", "0x1", "1/2", "high"}) {
    EXPECT_EQ(reason(replaced(kGood, "0.5", bad)), "confidence 1 is not a plain decimal") << bad;
  }
  for (const auto& bad : std::vector<std::string>{"1.01", "2", "55", "1.0000001", "00010", std::string(500, '9')}) {
    EXPECT_EQ(reason(replaced(kGood, "0.5", bad)), "confidence 1 is above 1") << bad;
  }
  for (const std::string good :
       {"0", "1", "1.0", "1.", ".5", "00.50", "0.33333333333333333333333333333333333333333", " 0.5\n"}) {
    EXPECT_EQ(reason(replaced(kGood, "0.5", good)), "") << good;
  }
  EXPECT_EQ(reason(replaced(kGood, "0.5", "0." + std::string(500, '0') + "1")), "") << "too small for a double";
  EXPECT_EQ(reason(kGood + "bye"), "text after the last answer: other text");
  EXPECT_EQ(reason(kGood + "<answer3>x</answer3>"), "text after the last answer: <answer3>");
  EXPECT_THAT(parse(kPlain, kGood, true).malformed_reason, HasSubstr("<confidence1> where <answer2>"))
      << "confidences are not asked for";
}

TEST(Parse, AnalysisAndAbstentionOnlyWhereAllowed) {
  const std::string analysis = "<think></think><analysis>q</analysis><answer1>a1</answer1><answer2>b</answer2>";
  EXPECT_FALSE(parse(kPlain, analysis, true).well_formed());
  EXPECT_TRUE(parse({2, false, true, false}, analysis, true).well_formed());
  EXPECT_TRUE(parse({2, false, true, false},
                    "<think></think><answer1>a1</answer1><answer2>b</answer2><analysis>q</analysis>", true)
                  .well_formed());
  const Grammar analysed{2, false, true, false};
  const std::string answers = "<answer1>a1</answer1><answer2>b</answer2>", block = "<analysis>q</analysis>";
  const auto reason = [&](const std::string& text) { return parse(analysed, text, true).malformed_reason; };
  EXPECT_EQ(reason("<think></think>" + block + answers + block), "text after the last answer: a second analysis block");
  EXPECT_EQ(reason("<think></think>" + answers + "<analysis>"), "analysis block not closed: expected </analysis>");
  EXPECT_EQ(reason("<think></think>" + block + block + answers),
            "answer 1 missing: a second analysis block where <answer1> is expected");

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

TEST(Render, RefusesSetsThatDoNotFit) {
  AnswerSet set;
  set.answers = {"a"};
  EXPECT_THROW(render(kPlain, set), BugError);
  set.answers = {"a1", "b"};
  EXPECT_NO_THROW(render(kPlain, set));
  EXPECT_THROW(render(kCalibrated, set), BugError);
}

// A long text without any way to match is read once, not once a position.
TEST(Parse, LongTextsTakeLinearTime) {
  std::string text = "<think>";
  for (int i = 0; i < 200000; ++i) text += "</think <answer1><answer1>";
  EXPECT_THAT(parse(kCalibrated, text, true).malformed_reason, HasSubstr("think block not closed"));
  text += "</think>";
  for (int i = 0; i < 200000; ++i) text += "<answer1>x</answer1 ";
  EXPECT_THAT(parse(kCalibrated, text, true).malformed_reason, HasSubstr("answer 1 not closed"));
}

// Random bytes and mutations of a good text: no crash, one verdict, and the invariants of the result.
TEST(Parse, NeverThrowsAndKeepsItsPromises) {
  const char* const kTags[] = {"<think>",        "</think>",    "<answer1>", "</answer1>",    "<answer2>",
                               "</answer2>",     "<answer>",    "</answer>", "<confidence1>", "</confidence1>",
                               "<analysis>",     "</analysis>", "<answer3>", "</answer3>",    "<confidence2>",
                               "</confidence2>", "none"};
  const Grammar grammars[] = {kPlain, {1, true, false, false}, {2, true, true, true}, {5, false, true, false}};
  RandomStream random(1, 2);
  int well_formed = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = round % 4 == 0 ? "" : kGood;
    const auto edits = random.below(4);
    for (std::uint64_t edit = 0; edit < edits && !text.empty(); ++edit) {
      const auto at = random.below(text.size());
      const auto kind = random.below(4);
      if (kind == 0)
        text.erase(at, 1 + random.below(5));
      else if (kind == 1)
        text.insert(at, 1, static_cast<char>(random.below(256)));
      else if (kind == 2)
        text.insert(at, kTags[random.below(std::size(kTags))]);
      else
        text.insert(at, text.substr(random.below(text.size()), random.below(20)));
    }
    if (round % 4 == 0) {
      for (auto length = random.below(60); length > 0; --length) text += static_cast<char>(random.below(256));
    }
    const auto set = parse(kCalibrated, text, true);
    const auto again = parse(kCalibrated, text, true);
    EXPECT_EQ(set.malformed_reason, again.malformed_reason);
    for (const auto& grammar : grammars) {
      const auto other = parse(grammar, text, true);
      ASSERT_EQ(other.answers.size(), other.well_formed() ? static_cast<std::size_t>(grammar.k) : 0u);
      ASSERT_EQ(other.confidences.size(), grammar.confidences ? other.answers.size() : 0u);
    }
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

TEST(Instructions, ShowTheFormat) {
  EXPECT_THAT(instructions({2, true, false, false}),
              ::testing::EndsWith("Format:\n<think>...</think>\n"
                                  "<answer1>...</answer1><confidence1>...</confidence1>\n"
                                  "<answer2>...</answer2><confidence2>...</confidence2>"));
  EXPECT_THAT(instructions({1, false, false, false}), ::testing::EndsWith("<think>...</think>\n<answer>...</answer>"));
  for (const int k : {1, 3}) {
    const std::string calibrated = instructions({k, true, false, false}),
                      plain = instructions({k, false, false, false});
    EXPECT_THAT(calibrated, HasSubstr("probability (0 to 1)"));
    EXPECT_THAT(calibrated, HasSubstr("exact match"));
    EXPECT_THAT(plain, ::testing::Not(HasSubstr("onfidence")));
    EXPECT_THAT(plain, HasSubstr("exact match"));
    EXPECT_THAT(instructions({k, false, true, false}), HasSubstr("<analysis>"));
    EXPECT_THAT(instructions({k, false, false, true}), HasSubstr("Write none"));
  }
  EXPECT_THAT(instructions({3, true, false, false}), HasSubstr("exactly 3 different answers, most likely first"));
}

}  // namespace
}  // namespace setrl::text
