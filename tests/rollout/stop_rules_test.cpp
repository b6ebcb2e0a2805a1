// Stop texts across token borders, the end after the K-th answer, the budget of the think block: alone and in the
// engine.
#include "rollout/stop_rules.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support.h"

namespace setrl::rollout {
namespace {

// Tokens are the letters of an alphabet of pieces.
class Pieces {
 public:
  explicit Pieces(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  StopRules rules() const {
    StopRules rules;
    rules.bytes_of = [this](std::int32_t id) -> std::string_view { return pieces_[static_cast<std::size_t>(id)]; };
    return rules;
  }
  std::int32_t id(const std::string& piece) const {
    return static_cast<std::int32_t>(std::find(pieces_.begin(), pieces_.end(), piece) - pieces_.begin());
  }
  // The index of the piece at which the watch ends, or -1.
  int end_of(const StopRules& rules, const std::vector<std::string>& text) const {
    StopWatch watch(rules);
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (watch.push(id(text[i]))) return static_cast<int>(i);
    }
    return -1;
  }

 private:
  std::vector<std::string> pieces_;
};

TEST(StopRulesTest, StopTextsAreFoundWhereverTokensEnd) {
  const Pieces pieces({"a", "ST", "S", "T", "OP", "O", "P", "xSTOPx", "", "\n\n"});
  auto rules = pieces.rules();
  rules.stop_texts = {"STOP", "\n\n"};
  EXPECT_EQ(pieces.end_of(rules, {"a", "ST", "OP", "a"}), 2);
  EXPECT_EQ(pieces.end_of(rules, {"S", "T", "O", "P"}), 3);
  EXPECT_EQ(pieces.end_of(rules, {"S", "", "T", "O", "", "P", "a"}), 5);
  EXPECT_EQ(pieces.end_of(rules, {"a", "xSTOPx"}), 1);
  EXPECT_EQ(pieces.end_of(rules, {"S", "S", "T", "ST", "O", "P"}), 5);
  EXPECT_EQ(pieces.end_of(rules, {"S", "T", "a", "O", "P"}), -1);
  EXPECT_EQ(pieces.end_of(rules, {"a", "a", "\n\n"}), 2);
}

TEST(StopRulesTest, EndsAfterTheLastAnswersTag) {
  const Pieces pieces({"</ans", "wer>", "</answer>", "</answer></answer>", "text"});
  auto rules = pieces.rules();
  rules.last_text = "</answer>";
  rules.last_count = 3;
  EXPECT_EQ(pieces.end_of(rules, {"text", "</ans", "wer>", "</answer>", "text", "</ans", "wer>", "text"}), 6);
  EXPECT_EQ(pieces.end_of(rules, {"</answer></answer>", "text", "</answer>"}), 2);
  EXPECT_EQ(pieces.end_of(rules, {"</answer></answer>", "</answer></answer>"}), 1);
  EXPECT_EQ(pieces.end_of(rules, {"</answer>", "</answer>", "text", "wer>"}), -1);
}

TEST(StopRulesTest, AThinkBlockOverItsBudgetIsClosedByForce) {
  const Pieces pieces({"<think>", "</think>", "w", "</th", "ink>", "<th"});
  auto rules = pieces.rules();
  rules.think_budget = 3;
  rules.think_open = "<think>";
  rules.think_close = "</think>";
  rules.think_close_ids = {pieces.id("</th"), pieces.id("ink>")};
  // What the watch makes of a policy that writes `text`, forced pieces in its place.
  const auto written = [&](std::vector<std::string> text) {
    StopWatch watch(rules);
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::int32_t forced = watch.forced();
      const std::int32_t id = forced >= 0 ? forced : pieces.id(text[i]);
      result += (forced >= 0 ? "!" : "") + std::string(rules.bytes_of(id)) + " ";
      EXPECT_FALSE(watch.push(id));
    }
    return result;
  };
  EXPECT_EQ(written({"w", "w", "w", "w", "w", "w"}), "w w w w w w ") << "no block";
  EXPECT_EQ(written({"<think>", "w", "w", "w", "w", "w", "w", "w"}), "<think> w w w !</th !ink> w w ");
  EXPECT_EQ(written({"<th", "ink>", "w", "w", "w", "w", "w"}), "<th ink> w w w !</th !ink> ");
  EXPECT_EQ(written({"<think>", "w", "</think>", "w", "w", "w"}), "<think> w </think> w w w ") << "closed in time";
  EXPECT_EQ(written({"<think>", "w", "</th", "ink>", "w", "w"}), "<think> w </th ink> w w ") << "in the last token";
  EXPECT_EQ(written({"<think>", "</think>", "<think>", "w", "w", "w", "w"}), "<think> </think> <think> w w w w ")
      << "the first block only";
  rules.think_open.clear();
  EXPECT_EQ(written({"w", "w", "w", "w", "w", "w"}), "w w w !</th !ink> w ") << "opened by the prompt";
}

TEST(StopRulesTest, RulesWithoutTheirTextAreABug) {
  StopRules rules;
  rules.check();
  rules.stop_texts = {"x"};
  EXPECT_THROW(rules.check(), BugError) << "no bytes";
  rules.bytes_of = [](std::int32_t) { return std::string_view(); };
  rules.check();
  rules.stop_texts = {""};
  EXPECT_THROW(rules.check(), BugError);
  rules.stop_texts.clear();
  rules.last_count = 1;
  EXPECT_THROW(rules.check(), BugError);
  rules.last_count = 0;
  rules.think_budget = 1;
  EXPECT_THROW(rules.check(), BugError);
}

class StopInEngineTest : public testing::Test {
 protected:
  StopInEngineTest() {
    at::set_num_threads(1);
    for (int i = 0; i < 211; ++i) {
      pieces_.push_back(std::string(1, static_cast<char>('a' + i % 26)) +
                        std::string(1, static_cast<char>('A' + i / 26)));
    }
    test::load(engine_, test::random_tensors(spec_));
    sampling_.max_new_tokens = 40;
  }
  std::shared_ptr<StopRules> rules() {
    auto rules = std::make_shared<StopRules>();
    rules->bytes_of = [this](std::int32_t id) -> std::string_view { return pieces_[static_cast<std::size_t>(id)]; };
    return rules;
  }
  std::string text_of(const Completion& completion) {
    std::string text;
    for (const auto id : completion.tokens) text += pieces_[static_cast<std::size_t>(id)];
    return text;
  }

  const model::ModelSpec spec_ = test::small_spec(model::Family::llama);
  std::vector<std::string> pieces_;
  Engine engine_{spec_, at::kFloat, 4};
  SamplingOptions sampling_;
  const GenerationRequest request_{0, "p", test::prompt_of(40, spec_.vocabulary), 4, 0};
};

TEST_F(StopInEngineTest, ACompletionIsCutWhereTheTextIsWritten) {
  const auto whole = test::generate(engine_, {request_}, sampling_);
  auto stop = rules();
  // Two letters around the border of tokens 10 and 11 of sample 1.
  stop->stop_texts = {text_of(whole.at({"p", 1})).substr(21, 2)};
  sampling_.rules = stop;
  const auto stopped = test::generate(engine_, {request_}, sampling_);
  for (const auto& [key, completion] : whole) {
    const std::string text = text_of(completion);
    const auto at = text.find(stop->stop_texts[0]);
    const std::size_t tokens = at == std::string::npos ? 40 : (at + 2 + 1) / 2;
    EXPECT_EQ(stopped.at(key).tokens.size(), tokens);
    EXPECT_TRUE(std::equal(stopped.at(key).tokens.begin(), stopped.at(key).tokens.end(), completion.tokens.begin()));
    EXPECT_EQ(stopped.at(key).finish, at == std::string::npos ? FinishReason::length : FinishReason::end_of_turn);
    EXPECT_TRUE(stopped.at(key).forced.empty());
  }
  EXPECT_LE(stopped.at({"p", 1}).tokens.size(), 12u);
}

// Taken out in the middle of what is forced, and on both sides of it.
TEST_F(StopInEngineTest, ACompletionThatGoesOnElsewhereKeepsToItsRules) {
  auto budget = rules();
  budget->think_budget = 9;
  budget->think_close = pieces_[7] + pieces_[8];
  budget->think_close_ids = {7, 8};
  sampling_.rules = budget;
  const auto whole = test::generate(engine_, {request_}, sampling_);
  for (const int steps : {5, 10, 11, 30}) {
    engine_.submit(request_, sampling_);
    for (int step = 0; step < steps; ++step) engine_.step(nullptr);
    GenerationRequest again = request_;
    engine_.for_each_in_flight(
        [&](const GenerationRequest&, const std::vector<Completion>& completions) { again.begun = completions; });
    ASSERT_EQ(again.begun.size(), 4u);
    EXPECT_EQ(again.begun[0].tokens.size(), static_cast<std::size_t>(steps));
    while (!engine_.idle()) engine_.step(nullptr);
    std::size_t seen = 0;
    engine_.submit(std::move(again), sampling_);
    while (!engine_.idle()) {
      engine_.step([&](const GenerationRequest&, const std::vector<Completion>& completions) {
        for (const auto& completion : completions) {
          const auto& expected = whole.at({"p", completion.sample_index});
          EXPECT_EQ(completion.tokens, expected.tokens);
          EXPECT_EQ(completion.logprobs, expected.logprobs);
          EXPECT_EQ(completion.forced, expected.forced);
          ++seen;
        }
      });
    }
    EXPECT_EQ(seen, 4u);
  }
}

TEST_F(StopInEngineTest, ForcedTokensAreMarkedAndCarryThePolicysLogprob) {
  const auto whole = test::generate(engine_, {request_}, sampling_);
  auto budget = rules();
  budget->think_budget = 9;
  budget->think_close = pieces_[7] + pieces_[8];
  budget->think_close_ids = {7, 8};
  sampling_.rules = budget;
  for (const auto& [key, completion] : test::generate(engine_, {request_}, sampling_)) {
    const auto& free = whole.at(key);
    ASSERT_EQ(completion.tokens.size(), 40u);
    EXPECT_TRUE(std::equal(free.tokens.begin(), free.tokens.begin() + 9, completion.tokens.begin()));
    EXPECT_EQ(completion.tokens[9], 7);
    EXPECT_EQ(completion.tokens[10], 8);
    std::vector<std::uint8_t> forced(40, 0);
    forced[9] = forced[10] = 1;
    EXPECT_EQ(completion.forced, forced);
    // Of the policy: the same as where a greedy engine is asked after the same text.
    std::vector<std::int64_t> ids(request_.prompt.begin(), request_.prompt.end());
    ids.insert(ids.end(), completion.tokens.begin(), completion.tokens.end());
    const auto logits = model::forward_logits(spec_, test::random_tensors(spec_), at::tensor(ids, at::kLong));
    const auto scores = at::log_softmax(logits, 1);
    for (const std::int64_t t : {8, 9, 10, 11, 39}) {
      const auto place = static_cast<std::int64_t>(request_.prompt.size()) + t;
      EXPECT_NEAR(scores[place - 1][ids[static_cast<std::size_t>(place)]].item<float>(),
                  completion.logprobs[static_cast<std::size_t>(t)], 1e-4);
    }
  }
}

}  // namespace
}  // namespace setrl::rollout
