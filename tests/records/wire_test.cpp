#include "records/wire.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/random.h"

namespace setrl {
namespace {

// Every field differs from its default and from its neighbours, so that a forgotten or swapped field shows.
Group full_group(std::size_t tokens) {
  Group group;
  group.step = 12;
  group.index = 3;
  group.policy_version = -7;
  group.problem.id = "ddxplus/train/17";
  group.problem.task = "ddxplus";
  group.problem.messages = {{"system", "Be brief."}, {"user", "Grüße \xF0\x9F\x98\x80\n"}, {"assistant", ""}};
  group.problem.golds = {{"Bronchitis", {"acute bronchitis", ""}, 0.25}, {"URTI", {}, -1}};
  group.problem.payload = std::string("{\"a\": \0}", 8);
  group.prompt.problem_id = "ddxplus/train/17";
  group.prompt.tokens = {1, -2, std::numeric_limits<std::int32_t>::max()};
  for (int sample = 0; sample < 2; ++sample) {
    Completion completion;
    completion.problem_id = "ddxplus/train/17";
    completion.sample_index = sample + 5;
    for (std::size_t t = 0; t < tokens; ++t) {
      completion.tokens.push_back(static_cast<std::int32_t>(t * 7919));
      completion.logprobs.push_back(-0.001f * static_cast<float>(t));
    }
    if (sample == 1) completion.forced.assign(tokens, 1);
    completion.oldest_version = 8;
    completion.newest_version = 9;
    completion.finish = FinishReason::end_of_turn;
    group.completions.push_back(completion);
  }
  group.completions[1].logprobs.push_back(-std::numeric_limits<float>::infinity());
  Verdict verdict;
  verdict.outcome = Outcome::infrastructure_failure;
  verdict.answers.think = "hm";
  verdict.answers.answers = {"URTI", "Anemia"};
  verdict.answers.confidences = {0.5, 0.125};
  verdict.answers.malformed_reason = "two texts";
  verdict.correct = {1, 0};
  verdict.matched_gold = {1, -1};
  verdict.programs = {{0xfedcba9876543210u, 5, ""}, {0, 0, "SyntaxError"}};
  verdict.terms = {{"format", 0.5}, {"count", -0.25}};
  verdict.total = std::nextafter(0.1, 1);
  group.verdicts = {verdict, Verdict{}};
  return group;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

void expect_equal(const Group& a, const Group& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.index, b.index);
  EXPECT_EQ(a.policy_version, b.policy_version);
  EXPECT_EQ(a.problem.id, b.problem.id);
  EXPECT_EQ(a.problem.task, b.problem.task);
  EXPECT_EQ(a.problem.payload, b.problem.payload);
  ASSERT_EQ(a.problem.messages.size(), b.problem.messages.size());
  for (std::size_t i = 0; i < a.problem.messages.size(); ++i) {
    EXPECT_EQ(a.problem.messages[i].role, b.problem.messages[i].role);
    EXPECT_EQ(a.problem.messages[i].content, b.problem.messages[i].content);
  }
  ASSERT_EQ(a.problem.golds.size(), b.problem.golds.size());
  for (std::size_t i = 0; i < a.problem.golds.size(); ++i) {
    EXPECT_EQ(a.problem.golds[i].text, b.problem.golds[i].text);
    EXPECT_EQ(a.problem.golds[i].aliases, b.problem.golds[i].aliases);
    EXPECT_EQ(a.problem.golds[i].probability, b.problem.golds[i].probability);
  }
  EXPECT_EQ(a.prompt.problem_id, b.prompt.problem_id);
  EXPECT_EQ(a.prompt.tokens, b.prompt.tokens);
  ASSERT_EQ(a.completions.size(), b.completions.size());
  for (std::size_t i = 0; i < a.completions.size(); ++i) {
    EXPECT_EQ(a.completions[i].problem_id, b.completions[i].problem_id);
    EXPECT_EQ(a.completions[i].sample_index, b.completions[i].sample_index);
    EXPECT_EQ(a.completions[i].tokens, b.completions[i].tokens);
    EXPECT_TRUE(same_bits(a.completions[i].logprobs, b.completions[i].logprobs));
    EXPECT_EQ(a.completions[i].forced, b.completions[i].forced);
    EXPECT_EQ(a.completions[i].oldest_version, b.completions[i].oldest_version);
    EXPECT_EQ(a.completions[i].newest_version, b.completions[i].newest_version);
    EXPECT_EQ(a.completions[i].finish, b.completions[i].finish);
  }
  ASSERT_EQ(a.verdicts.size(), b.verdicts.size());
  for (std::size_t i = 0; i < a.verdicts.size(); ++i) {
    const Verdict &x = a.verdicts[i], &y = b.verdicts[i];
    EXPECT_EQ(x.outcome, y.outcome);
    EXPECT_EQ(x.answers.think, y.answers.think);
    EXPECT_EQ(x.answers.answers, y.answers.answers);
    EXPECT_EQ(x.answers.confidences, y.answers.confidences);
    EXPECT_EQ(x.answers.malformed_reason, y.answers.malformed_reason);
    EXPECT_EQ(x.correct, y.correct);
    EXPECT_EQ(x.matched_gold, y.matched_gold);
    ASSERT_EQ(x.programs.size(), y.programs.size());
    for (std::size_t j = 0; j < x.programs.size(); ++j) {
      EXPECT_EQ(x.programs[j].tree, y.programs[j].tree);
      EXPECT_EQ(x.programs[j].behaviour, y.programs[j].behaviour);
      EXPECT_EQ(x.programs[j].reason, y.programs[j].reason);
    }
    EXPECT_EQ(x.total, y.total);
    ASSERT_EQ(x.terms.size(), y.terms.size());
    for (std::size_t t = 0; t < x.terms.size(); ++t) {
      EXPECT_EQ(x.terms[t].name, y.terms[t].name);
      EXPECT_EQ(x.terms[t].value, y.terms[t].value);
    }
  }
}

TEST(Wire, CarriesEveryField) {
  const Group group = full_group(40);
  expect_equal(decode_group(encode(group)), group);
}

TEST(Wire, CarriesNothingAtAll) {
  expect_equal(decode_group(encode(Group{})), Group{});
}

TEST(Wire, CarriesALotQuickly) {
  Group group = full_group(2'000'000);
  group.problem.payload.assign(5'000'000, 'x');
  expect_equal(decode_group(encode(group)), group);
}

TEST(Wire, IsTheSameForEqualGroups) {
  EXPECT_EQ(encode(full_group(9)), encode(decode_group(encode(full_group(9)))));
}

TEST(Wire, RefusesEveryTruncation) {
  const Bytes whole = encode(full_group(3));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(decode_group(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))), BugError)
        << length << " of " << whole.size();
  }
}

TEST(Wire, RefusesBytesAfterTheEnd) {
  Bytes bytes = encode(full_group(3));
  bytes.push_back(0);
  EXPECT_THROW(decode_group(bytes), BugError);
}

// A damaged length must end in an error (or in a group, where the damage hit a value), never in a crash or in a huge
// allocation.
TEST(Wire, SurvivesDamage) {
  const Bytes whole = encode(full_group(3));
  int refused = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const std::uint8_t value : {std::uint8_t{0xff}, std::uint8_t{0x01}, std::uint8_t{0x80}}) {
      Bytes bytes = whole;
      bytes[at] ^= value;
      try {
        decode_group(bytes);
      } catch (const BugError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Wire, KnowsCompletionsThatAreNotFinished) {
  Group group = full_group(3);
  group.completions[1].finish = FinishReason::unfinished;
  EXPECT_EQ(decode_group(encode(group)).completions[1].finish, FinishReason::unfinished);
}

TEST(Wire, RefusesUnknownKindsOfOutcome) {
  Group group = full_group(0);
  group.completions[0].finish = static_cast<FinishReason>(7);
  EXPECT_THROW(decode_group(encode(group)), BugError);
  group = full_group(0);
  group.verdicts[0].outcome = static_cast<Outcome>(9);
  EXPECT_THROW(decode_group(encode(group)), BugError);
}

}  // namespace
}  // namespace setrl
