#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "task_files.h"

namespace setrl::tasks {
namespace {

using nlohmann::json;
using testing::error_of;
using testing::Folder;
using ::testing::HasSubstr;

// Ten paragraphs, the third and the eighth gold.
json made_up(const std::string& id, std::size_t length = 20) {
  json context = json::array(), facts = json::array();
  for (int i = 0; i < 10; ++i) {
    const std::string title = "Title " + std::to_string(i);
    context.push_back({title, {std::string(length, 'x'), " Second of " + std::to_string(i) + "."}});
    if (i == 2 || i == 7) facts.push_back({title, 0});
  }
  return {{"_id", id},         {"question", "Which? "}, {"answer", "Ann Lee"},      {"type", "bridge"},
          {"level", "medium"}, {"context", context},    {"supporting_facts", facts}};
}

RunConfig config_of(const std::string& path, const std::string& context) {
  RunConfig config;
  config.task.name = "hotpotqa";
  config.task.path = path;
  config.task.context = context;
  return config;
}

void write_split(const Folder& folder, const std::string& split, const std::vector<json>& problems) {
  std::string text;
  for (const auto& problem : problems) text += problem.dump() + "\n";
  folder.write(split + ".jsonl", text);
}

int occurrences(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Hotpotqa, TheDistractorFormShowsEveryParagraph) {
  Folder folder;
  write_split(folder, "train", {made_up("a")});
  write_split(folder, "test", {made_up("b")});
  const auto task = make_task(config_of(folder.path(), "distractor"));
  const Problem problem = task->problem("test", 0);
  EXPECT_EQ(problem.id, "hotpotqa/test/b");
  EXPECT_EQ(problem.messages.at(1).content.find("Paragraphs:\nTitle 0: xxxxxxxxxxxxxxxxxxxx Second of 0.\n"), 0u);
  EXPECT_EQ(occurrences(problem.messages.at(1).content, "Title "), 10);
  EXPECT_THAT(problem.messages.at(1).content, ::testing::EndsWith("\nQuestion: Which?"));
  ASSERT_EQ(problem.golds.size(), 1u);
  EXPECT_EQ(problem.golds[0].text, "Ann Lee");
}

TEST(Hotpotqa, TheModifiedFormTakesOutTwoParagraphsByTheIdAlone) {
  constexpr int kProblems = 600;
  Folder folder, reversed;
  std::vector<json> problems;
  for (int i = 0; i < kProblems; ++i) problems.push_back(made_up("id" + std::to_string(i)));
  write_split(folder, "train", problems);
  write_split(folder, "test", {made_up("b")});
  std::reverse(problems.begin(), problems.end());
  write_split(reversed, "train", problems);
  write_split(reversed, "test", {made_up("b")});
  auto config = config_of(folder.path(), "modified");
  const auto task = make_task(config);
  config.task.path = reversed.path();
  config.run.seed = 99;
  const auto other = make_task(config);
  std::map<int, int> removed;
  std::set<std::string> left;
  for (int i = 0; i < kProblems; ++i) {
    const Problem problem = task->problem("train", i), same = other->problem("train", kProblems - 1 - i);
    ASSERT_EQ(problem.id, same.id);
    ASSERT_EQ(problem.messages.at(1).content, same.messages.at(1).content);
    const auto& text = problem.messages.at(1).content;
    EXPECT_EQ(occurrences(text, "Title "), 8);
    const int golds = occurrences(text, "Title 2:") + occurrences(text, "Title 7:");
    const auto payload = json::parse(problem.payload);
    EXPECT_EQ(payload.at("removed"), 2 - golds);
    EXPECT_EQ(payload.at("gold_titles").size(), static_cast<std::size_t>(golds));
    EXPECT_EQ(task->stratum("train", i), "bridge, " + std::to_string(2 - golds) + " removed");
    ++removed[2 - golds];
    left.insert(text);
  }
  for (int r = 0; r < 3; ++r) EXPECT_NEAR(removed[r], kProblems / 3, 60) << r;  // 5 standard deviations
  // 28 + 2 * 8 + 1 ways to take two of ten; all but the rare are met.
  EXPECT_GT(left.size(), 40u);
  EXPECT_LE(left.size(), 45u);
}

TEST(Hotpotqa, LeavesOutLongTextsAndUnusualProblems) {
  Folder folder;
  auto short_context = made_up("few");
  short_context["context"].erase(0);
  auto no_answer = made_up("nothing");
  no_answer["answer"] = "The.";
  // 8 paragraphs of 9 + 727 + 13 + 1 characters are 6,000; the bytes are more.
  auto limit = made_up("limit"), below = made_up("below");
  for (auto& paragraph : limit["context"]) paragraph[1][0] = std::string(727, 'x');
  for (auto& paragraph : below["context"]) {
    std::string text;
    for (int i = 0; i < 726; ++i) text += "é";
    paragraph[1][0] = text;
  }
  write_split(folder, "train", {made_up("long", 2000), short_context, limit, below, no_answer});
  write_split(folder, "test", {made_up("b")});
  auto config = config_of(folder.path(), "modified");
  auto task = make_task(config);
  ASSERT_EQ(task->size("train"), 1);
  EXPECT_EQ(task->problem("train", 0).id, "hotpotqa/train/below");
  config.task.max_characters = 0;
  EXPECT_EQ(make_task(config)->size("train"), 3);
  config.task.context = "distractor";
  EXPECT_EQ(make_task(config)->size("train"), 4);  // nine paragraphs are no obstacle
}

TEST(Hotpotqa, ErrorsNameFileLineAndField) {
  Folder folder;
  const auto config = config_of(folder.path(), "modified");
  EXPECT_THAT(error_of(config), HasSubstr("train.jsonl: cannot be opened"));
  write_split(folder, "train", {made_up("a"), made_up("b")});
  folder.write("test.jsonl", made_up("c").dump() + "\n\n{\"_id\": \"d\"\n");
  EXPECT_THAT(error_of(config), HasSubstr("test.jsonl: line 3: is not valid JSON"));
  folder.write("test.jsonl", "[1]\n");
  EXPECT_THAT(error_of(config), HasSubstr("test.jsonl: line 1: is not a JSON object"));
  auto wrong = made_up("c");
  wrong["context"] = "text";
  write_split(folder, "test", {made_up("e"), wrong});
  EXPECT_THAT(error_of(config), HasSubstr("test.jsonl: line 2: \"context\" is not a list of"));
  wrong.erase("context");
  write_split(folder, "test", {wrong});
  EXPECT_THAT(error_of(config), HasSubstr("line 1: there is no \"context\""));
  write_split(folder, "test", {made_up("long", 2000)});
  EXPECT_THAT(error_of(config), HasSubstr("none of its 1 lines"));
  EXPECT_THAT(error_of(config_of("", "modified")), HasSubstr("task.path"));
}

// Other editions of the files name the gold paragraphs, and have problems without an id.
TEST(Hotpotqa, ReadsGoldTitlesAndProblemsWithoutAnId) {
  Folder folder;
  auto titled = made_up("a");
  titled["_id"] = nullptr;
  titled["supporting_facts"] = nullptr;
  titled["gold_titles"] = {"Title 2", "Title 7"};
  write_split(folder, "train", {titled});
  write_split(folder, "test", {made_up("b")});
  const auto task = make_task(config_of(folder.path(), "modified"));
  EXPECT_EQ(task->problem("train", 0).id.size(), std::string("hotpotqa/train/").size() + 16);
}

TEST(Hotpotqa, GoldSetsParseAndHoldTheAnswerFirst) {
  Folder folder;
  auto yes = made_up("yes");
  yes["answer"] = "yes";
  write_split(folder, "train", {made_up("a"), yes});
  write_split(folder, "test", {made_up("b")});
  auto config = config_of(folder.path(), "modified");
  const auto task = make_task(config);
  auto grammar = text::grammar_of(config);
  for (int i = 0; i < 2; ++i) {
    const Problem problem = task->problem("train", i);
    const auto set = task->gold_answer_set(problem, grammar);
    const auto parsed = text::parse(grammar, text::render(grammar, set), true);
    ASSERT_TRUE(parsed.well_formed()) << parsed.malformed_reason;
    EXPECT_EQ(parsed.answers.at(0), problem.golds.at(0).text);
    EXPECT_LE(parsed.confidences[0] + parsed.confidences[1] + parsed.confidences[2], 1);
  }
  EXPECT_EQ(task->gold_answer_set(task->problem("train", 1), grammar).answers.at(1), "no");
  grammar.abstention = true;
  EXPECT_EQ(task->gold_answer_set(task->problem("train", 0), grammar).answers,
            (std::vector<std::string>{"Ann Lee", "none", "none"}));
}

TEST(Hotpotqa, ReadsTheRealFiles) {
  SETRL_NEED_REAL_DATA(path, "hotpotqa");
  const auto task = make_task(config_of(path, "modified"));
  for (const std::string split : {"train", "test"}) {
    EXPECT_GT(task->size(split), 250) << split;
    std::map<std::string, int> removed;
    for (std::int64_t i = 0; i < task->size(split); ++i) {
      const Problem problem = task->problem(split, i);
      const auto payload = json::parse(problem.payload);
      ++removed[payload.at("removed").dump()];
      EXPECT_EQ(payload.at("titles").size(), 8u);
      // Below 6,000 characters of paragraphs; characters are at most bytes, so this is a bound from above.
      EXPECT_LT(problem.messages.at(1).content.size(), 6000u * 2);
      const auto grammar = text::grammar_of(config_of(path, "modified"));
      EXPECT_TRUE(
          text::parse(grammar, text::render(grammar, task->gold_answer_set(problem, grammar)), true).well_formed())
          << problem.id;
    }
    EXPECT_EQ(removed.size(), 3u);
  }
}

}  // namespace
}  // namespace setrl::tasks
