#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "task_files.h"

namespace setrl::tasks {
namespace {

using testing::error_of;
using testing::Folder;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class Jsonl : public ::testing::Test {
 protected:
  Jsonl() {
    config_.task.name = "jsonl";
    config_.task.path = folder_.path();
    folder_.write("train.jsonl", R"({"prompt": "Name a prime.", "golds": ["2", "3", "5", "7"]})");
    folder_.write("test.jsonl", R"({"prompt": "Name a colour.", "golds": ["red"]})");
  }
  std::string error_of_line(const std::string& line) {
    folder_.write("test.jsonl", R"({"prompt": "x", "golds": ["y"]})"
                                "\n" +
                                    line + "\n");
    const std::string error = error_of(config_);
    EXPECT_THAT(error, HasSubstr("test.jsonl: line 2: ")) << line;
    return error;
  }
  Problem problem_of(const std::string& line) {
    folder_.write("test.jsonl", line);
    return make_task(config_)->problem("test", 0);
  }

  Folder folder_;
  RunConfig config_;
};

TEST_F(Jsonl, APromptBecomesAUserMessageUnderTheFormat) {
  const auto task = make_task(config_);
  const Problem problem = task->problem("test", 0);
  EXPECT_EQ(problem.id, "jsonl/test/0");
  ASSERT_EQ(problem.messages.size(), 2u);
  EXPECT_EQ(problem.messages[0].role, "system");
  EXPECT_EQ(problem.messages[0].content, text::instructions(text::grammar_of(config_)));
  EXPECT_EQ(problem.messages[1].content, "Name a colour.");
  EXPECT_EQ(nlohmann::json::parse(problem.payload), nlohmann::json({{"grader", "exact"}}));
}

TEST_F(Jsonl, TheInstructionsGoWhereTheyAreWanted) {
  const auto format = text::instructions(text::grammar_of(config_));
  const auto placed = problem_of(
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q\n{format}"}], "golds": ["y"]})");
  EXPECT_EQ(placed.messages[0].content, "Be brief.");
  EXPECT_EQ(placed.messages[1].content, "Q\n" + format);
  const auto appended = problem_of(
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"}], "golds": ["y"]})");
  EXPECT_EQ(appended.messages[0].content, "Be brief.\n" + format);
}

TEST_F(Jsonl, EveryFieldIsRead) {
  const auto problem = problem_of(
      R"({"id": 7, "prompt": "p", "golds": [{"text": "b", "probability": 0.2}, {"text": "alpha", "aliases": ["A."], "probability": 0.7}, "c"],)"
      R"( "grader": "external", "payload": {"limit": 3}, "stratum": "easy"})");
  EXPECT_EQ(problem.id, "jsonl/test/7");
  ASSERT_EQ(problem.golds.size(), 3u);
  EXPECT_EQ(problem.golds[0].text, "alpha");  // most probable first
  EXPECT_EQ(problem.golds[0].aliases, std::vector<std::string>{"A."});
  EXPECT_EQ(problem.golds[2].probability, -1);
  EXPECT_EQ(nlohmann::json::parse(problem.payload),
            nlohmann::json({{"grader", "external"}, {"payload", {{"limit", 3}}}}));
  EXPECT_EQ(make_task(config_)->stratum("test", 0), "easy");
}

TEST_F(Jsonl, ErrorsNameFileAndLine) {
  EXPECT_THAT(error_of_line("{"), HasSubstr("is not valid JSON"));
  EXPECT_THAT(error_of_line("7"), HasSubstr("is not a JSON object"));
  EXPECT_THAT(error_of_line(R"({"golds": ["y"]})"), HasSubstr("needs either \"prompt\" or \"messages\""));
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "messages": [], "golds": ["y"]})"), HasSubstr("needs either"));
  EXPECT_THAT(error_of_line(R"({"prompt": 3, "golds": ["y"]})"), HasSubstr("\"prompt\" is not a string"));
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "gold": ["y"]})"),
              HasSubstr("the field \"gold\" is none of id, prompt"));
  EXPECT_THAT(error_of_line(R"({"prompt": "x"})"), HasSubstr("needs \"golds\""));
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "golds": "y"})"), HasSubstr("\"golds\" is not a list"));
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "golds": [3]})"), HasSubstr("neither a string nor an object"));
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "golds": ["The ..."]})"), HasSubstr("is empty once"));
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "golds": [{"text": "y", "p": 1}]})"), HasSubstr("the field \"p\""));
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "golds": [{"text": "y", "probability": 2}]})"), HasSubstr("0 .. 1"));
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "golds": ["y"], "grader": "best"})"), HasSubstr("the grader \"best\""));
  EXPECT_THAT(error_of_line(R"({"messages": [{"role": "boss", "content": "x"}], "golds": ["y"]})"), HasSubstr("boss"));
  EXPECT_THAT(error_of_line(R"({"messages": [{"role": "user"}], "golds": ["y"]})"), HasSubstr("a message is not"));
  EXPECT_THAT(error_of_line(R"({"messages": [{"role": "assistant", "content": "x"}], "golds": ["y"]})"),
              HasSubstr("the last message is not the user's"));
  EXPECT_THAT(error_of_line(R"({"id": "0", "prompt": "x", "golds": ["y"]})"), HasSubstr("repeats the id"));
  folder_.write("test.jsonl", "\n");
  EXPECT_THAT(error_of(config_), HasSubstr("test.jsonl: has no lines"));
}

TEST_F(Jsonl, ProgramsAreJudgedByTests) {
  config_.task.programs = true;
  folder_.write("train.jsonl",
                R"({"prompt": "Double x.", "tests": ["assert f(2) == 4"], "golds": ["def f(x):\n    return 2 * x"]})"
                "\n"
                R"({"prompt": "Negate x.", "tests": ["assert f(2) == -2"], "golds": ["def f(x):\n    return -x"]})"
                "\n"
                R"({"prompt": "One.", "tests": ["assert f(2) == 1"], "golds": ["def f(x):\n    return 1"]})");
  const auto problem = problem_of(
      R"({"prompt": "Double x.", "tests": ["assert f(a) == 4"], "setup": "a = 2", "imports": ["import math"]})");
  EXPECT_TRUE(problem.golds.empty());
  const auto payload = nlohmann::json::parse(problem.payload);
  EXPECT_EQ(payload.at("tests"), nlohmann::json({"assert f(a) == 4"}));
  EXPECT_EQ(payload.at("setup"), "a = 2");
  EXPECT_EQ(payload.at("imports"), nlohmann::json({"import math"}));
  const auto task = make_task(config_);
  const auto grammar = text::grammar_of(config_);
  EXPECT_TRUE(grammar.programs);
  EXPECT_THAT(problem.messages.at(0).content, HasSubstr("Python program"));
  const auto set = task->gold_answer_set(task->problem("train", 0), grammar);
  EXPECT_EQ(set.answers.at(0), "def f(x):\n    return 2 * x");
  EXPECT_EQ(set.confidences.at(0), 1);
  EXPECT_THROW(task->gold_answer_set(problem, grammar), UserError);
  for (const char* line :
       {R"({"prompt": "x", "golds": ["y"]})", R"({"prompt": "x", "tests": []})", R"({"prompt": "x", "tests": "t"})",
        R"({"prompt": "x", "tests": ["t"], "grader": "exact"})"}) {
    folder_.write("test.jsonl", line);
    EXPECT_THAT(error_of(config_), HasSubstr("test.jsonl: line 1: ")) << line;
  }
  config_.task.programs = false;
  folder_.write("train.jsonl", R"({"prompt": "x", "golds": ["y"]})");
  EXPECT_THAT(error_of_line(R"({"prompt": "x", "tests": ["t"]})"), HasSubstr("task.programs"));
}

TEST_F(Jsonl, GoldSetsTakeOtherProblemsGoldsAsWrongAnswers) {
  const auto task = make_task(config_);
  const auto grammar = text::grammar_of(config_);
  const auto set = task->gold_answer_set(task->problem("test", 0), grammar);
  ASSERT_EQ(set.answers.size(), 3u);
  EXPECT_EQ(set.answers[0], "red");
  EXPECT_EQ(set.confidences[0], 1);
  EXPECT_LE(set.confidences[1], 0.02);
  EXPECT_TRUE(text::parse(grammar, text::render(grammar, set), true).well_formed());
  EXPECT_THAT(task->gold_answer_set(task->problem("train", 0), grammar).answers, ::testing::ElementsAre("2", "3", "5"));
  folder_.write("test.jsonl", R"({"prompt": "x", "grader": "external"})");
  const auto without = make_task(config_);
  EXPECT_THROW(without->gold_answer_set(without->problem("test", 0), grammar), UserError);
}

}  // namespace
}  // namespace setrl::tasks
