// The MBPP reader: small files of its own, and the publishers' where they are.
#include "tasks/mbpp_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace setrl::tasks {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class MbppFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("setrl-mbpp-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  RunConfig config(int k = 3) const {
    RunConfig config;
    config.task.name = "mbpp";
    config.task.path = folder_;
    config.task.k = k;
    return config;
  }
  std::string error() const {
    try {
      MbppTask task(config());
      return "";
    } catch (const UserError& failure) {
      return failure.what();
    }
  }
  std::filesystem::path folder_;
};

std::string line(int id, const std::string& code = "def f(x):\r\n  return x") {
  return json{{"task_id", id},
              {"text", "Write a function."},
              {"code", code},
              {"test_setup_code", "a = 1\r\nb = 2"},
              {"test_list", {"assert f(1) == 1", "assert f(2) == 2"}},
              {"challenge_test_list", json::array()}}
             .dump() +
         "\n";
}

TEST_F(MbppFiles, SplitsByTaskId) {
  std::string text;
  for (const int id : {974, 601, 600, 511, 510, 11, 10, 1, 602}) text += line(id);
  write("mbpp.jsonl", text);
  const MbppTask task(config());
  EXPECT_EQ(task.size("train"), 3);
  EXPECT_EQ(task.size("test"), 2);
  EXPECT_EQ(task.size("validation"), 2);
  EXPECT_EQ(task.size("prompt"), 2);
  EXPECT_EQ(task.problem("train", 0).id, "mbpp/train/601");
  EXPECT_EQ(task.problem("train", 2).id, "mbpp/train/974");
  EXPECT_THROW(task.size("everything"), UserError);
}

TEST_F(MbppFiles, TheSanitizedFileIsReadToo) {
  const json row = {{"task_id", 700},     {"prompt", "Write it."},           {"code", "def g(): return 1.0"},
                    {"source_file", "x"}, {"test_imports", {"import math"}}, {"test_list", {"assert g() == math.e"}}};
  json other = row;
  other["task_id"] = 20;
  write("sanitized-mbpp.json", json{row, other}.dump());
  const MbppTask task(config());
  const Problem problem = task.problem("train", 0);
  EXPECT_THAT(problem.messages[1].content, HasSubstr("Write it.\n"));
  EXPECT_THAT(problem.messages[1].content, HasSubstr("import math\nassert g() == math.e"));
  EXPECT_EQ(json::parse(problem.payload).at("imports"), json{"import math"});
}

TEST_F(MbppFiles, ThePromptShowsOneTestAndThePayloadAll) {
  write("mbpp.jsonl", line(11) + line(601));
  const Problem problem = MbppTask(config()).problem("train", 0);
  ASSERT_EQ(problem.messages.size(), 2u);
  EXPECT_THAT(problem.messages[0].content, HasSubstr("<answer3>"));
  EXPECT_THAT(problem.messages[0].content, HasSubstr("Python program"));
  EXPECT_THAT(problem.messages[0].content, Not(HasSubstr("exact match")));
  EXPECT_THAT(problem.messages[1].content, HasSubstr("assert f(1) == 1"));
  EXPECT_THAT(problem.messages[1].content, Not(HasSubstr("assert f(2)")));
  EXPECT_TRUE(problem.golds.empty());
  const auto payload = json::parse(problem.payload);
  EXPECT_EQ(payload.at("tests").size(), 2u);
  EXPECT_EQ(payload.at("reference"), "def f(x):\n  return x");  // CRLF became LF
  EXPECT_EQ(payload.at("setup"), "a = 1\nb = 2");
}

TEST_F(MbppFiles, TheTrainingTargetParses) {
  std::string text = line(11);
  for (int id = 601; id < 640; ++id) text += line(id, "def f(x):\n  return x + " + std::to_string(id));
  write("mbpp.jsonl", text);
  for (const int k : {1, 3, 5}) {
    const auto configuration = config(k);
    const MbppTask task(configuration);
    const auto grammar = text::grammar_of(configuration);
    const Problem problem = task.problem("train", 7);
    const AnswerSet set = task.gold_answer_set(problem, grammar);
    ASSERT_EQ(set.answers.size(), static_cast<std::size_t>(k));
    EXPECT_EQ(set.answers[0], "def f(x):\n  return x + 608");
    EXPECT_EQ(set.confidences[0], 1);
    // The programs differ in a number only, and punctuation: that is a difference.
    const AnswerSet parsed = text::parse(grammar, text::render(grammar, set), true);
    EXPECT_TRUE(parsed.well_formed()) << parsed.malformed_reason;
    EXPECT_EQ(parsed.answers, set.answers);
    EXPECT_EQ(task.gold_answer_set(problem, grammar).answers, set.answers);
  }
}

// A cold start that showed other functions' names would teach programs that no test can call.
TEST_F(MbppFiles, WrongAnswersOfTheTrainingTargetDefineTheTestedFunction) {
  const auto row = [](int id, const std::string& name) {
    return json{{"task_id", id},
                {"text", "Write it."},
                {"code", "def help(x): return x\ndef " + name + "(" + name + "_x):\n  return help(" + name +
                             "_x) if 1 else " + name + "(1)"},
                {"test_list", {"assert set(" + name + "(1)) == {2}"}}}
               .dump() +
           "\n";
  };
  write("mbpp.jsonl", line(11) + row(601, "one") + row(602, "two") + row(603, "three"));
  const auto configuration = config();
  const MbppTask task(configuration);
  const AnswerSet set = task.gold_answer_set(task.problem("train", 0), text::grammar_of(configuration));
  EXPECT_THAT(set.answers[0], HasSubstr("def one(one_x):"));
  for (const std::size_t i : {1, 2}) {
    const std::string other = set.answers[i].find("two") != std::string::npos ? "two" : "three";
    EXPECT_EQ(set.answers[i],
              "def help(x): return x\ndef one(" + other + "_x):\n  return help(" + other + "_x) if 1 else one(1)");
  }
}

TEST_F(MbppFiles, ProgramsDifferInPunctuation) {
  const auto grammar = text::grammar_of(config(2));
  const auto parsed = [&](const std::string& first, const std::string& second) {
    return text::parse(grammar,
                       "<think></think><answer1>" + first + "</answer1><confidence1>1</confidence1><answer2>" + second +
                           "</answer2><confidence2>0</confidence2>",
                       true)
        .malformed_reason;
  };
  EXPECT_EQ(parsed("def f(a, b): return a - b", "def f(a, b): return a + b"), "");
  EXPECT_EQ(parsed("def f(a): return a", " def f(a): return a\n"), "answer 2 repeats answer 1");
}

TEST_F(MbppFiles, ErrorsNameFileAndLine) {
  EXPECT_THAT(error(), HasSubstr("neither mbpp.jsonl nor"));
  write("mbpp.jsonl", line(11) + "\n{\"task_id\": 12}\n");
  EXPECT_THAT(error(), HasSubstr("mbpp.jsonl, line 3"));
  write("mbpp.jsonl", line(11) + line(601) + line(975));
  EXPECT_THAT(error(), HasSubstr("975 is none of 1-974"));
  write("mbpp.jsonl", line(11) + line(601) + line(601));
  EXPECT_THAT(error(), HasSubstr("601 is there twice"));
  write("mbpp.jsonl", line(11));
  EXPECT_THAT(error(), HasSubstr("no problems of the splits"));
}

TEST(Mbpp, ThePublishersFiles) {
  const char* data = std::getenv("SETRL_DATA");
  RunConfig config;
  config.task.name = "mbpp";
  config.task.path = std::string(data == nullptr ? "../shared/data" : data) + "/mbpp";
  if (!std::filesystem::exists(config.task.path)) GTEST_SKIP() << "SKIPPED: no MBPP in " << config.task.path;
  const MbppTask task(config);
  EXPECT_EQ(task.size("train"), 374);
  EXPECT_EQ(task.size("test"), 500);
  EXPECT_EQ(task.size("validation"), 90);
  EXPECT_EQ(task.size("prompt"), 10);
  std::set<std::string> ids;
  for (const std::string split : {"train", "test", "validation", "prompt"}) {
    for (std::int64_t i = 0; i < task.size(split); ++i) {
      const Problem problem = task.problem(split, i);
      EXPECT_TRUE(ids.insert(problem.id).second);
      EXPECT_THAT(problem.payload, Not(HasSubstr("\\r\\n")));
    }
  }
  config.task.path += "/sanitized-mbpp.json";
  const MbppTask sanitized(config);
  EXPECT_EQ(sanitized.size("train") + sanitized.size("test") + sanitized.size("validation") + sanitized.size("prompt"),
            427);
}

}  // namespace
}  // namespace setrl::tasks
