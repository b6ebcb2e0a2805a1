#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "task_files.h"

namespace setrl::tasks {
namespace {

using testing::error_of;
using testing::Folder;
using ::testing::HasSubstr;

constexpr std::int64_t kCases = 200;

RunConfig config_of(const std::string& path) {
  RunConfig config;
  config.task.name = "ddxplus";
  config.task.path = path;
  return config;
}

std::vector<std::pair<std::string, double>> differential_of(const Problem& problem) {
  return nlohmann::json::parse(problem.payload).at("differential").get<std::vector<std::pair<std::string, double>>>();
}

TEST(Ddxplus, TheGoldSetIsTheDifferential) {
  SETRL_NEED_REAL_DATA(path, "ddxplus");
  const auto task = make_task(config_of(path));
  EXPECT_EQ(task->size("train"), 13476);
  EXPECT_EQ(task->size("test"), 500);
  for (std::int64_t i = 0; i < kCases; ++i) {
    const Problem problem = task->problem("test", i);
    const auto differential = differential_of(problem);
    ASSERT_EQ(problem.golds.size(), differential.size()) << problem.id;
    double sum = 0;
    for (std::size_t g = 0; g < differential.size(); ++g) {
      EXPECT_EQ(problem.golds[g].text, differential[g].first);
      EXPECT_EQ(problem.golds[g].probability, differential[g].second);
      if (g > 0) {
        EXPECT_LE(problem.golds[g].probability, problem.golds[g - 1].probability);
      }
      sum += differential[g].second;
    }
    EXPECT_NEAR(sum, 1, 1e-3) << problem.id;
  }
}

TEST(Ddxplus, AMinimumProbabilityKeepsTheMostProbableOne) {
  SETRL_NEED_REAL_DATA(path, "ddxplus");
  auto config = config_of(path);
  config.task.min_probability = 0.15;
  const auto task = make_task(config);
  for (std::int64_t i = 0; i < kCases; ++i) {
    const Problem problem = task->problem("test", i);
    const auto differential = differential_of(problem);
    const auto kept =
        std::count_if(differential.begin(), differential.end(), [](const auto& d) { return d.second >= 0.15; });
    EXPECT_EQ(problem.golds.size(), static_cast<std::size_t>(std::max<std::int64_t>(kept, 1))) << problem.id;
    EXPECT_EQ(problem.golds[0].text, differential[0].first);
  }
  config.task.min_probability = 1;
  EXPECT_EQ(make_task(config)->problem("test", 0).golds.size(), 1u);
}

TEST(Ddxplus, TheTruePathologyCanBeTheOnlyGold) {
  SETRL_NEED_REAL_DATA(path, "ddxplus");
  auto config = config_of(path);
  config.task.true_pathology_only = true;
  config.task.min_probability = 0.99;  // does not apply to the truth
  const auto task = make_task(config);
  const auto grammar = text::grammar_of(config);
  int not_first = 0;
  for (std::int64_t i = 0; i < kCases; ++i) {
    const Problem problem = task->problem("test", i);
    ASSERT_EQ(problem.golds.size(), 1u);
    EXPECT_EQ(problem.golds[0].text, task->stratum("test", i));
    const auto differential = differential_of(problem);
    not_first += differential[0].first != problem.golds[0].text ? 1 : 0;
    const auto set = task->gold_answer_set(problem, grammar);
    EXPECT_TRUE(text::parse(grammar, text::render(grammar, set), true).well_formed()) << problem.id;
    EXPECT_THAT(set.answers, ::testing::Contains(problem.golds[0].text));
  }
  EXPECT_GT(not_first, kCases / 10);  // the truth is often not the most probable condition
}

TEST(Ddxplus, EveryConditionCanBeAnsweredAndAliasesAreUnique) {
  SETRL_NEED_REAL_DATA(path, "ddxplus");
  auto config = config_of(path);
  config.task.list_options = true;
  const auto task = make_task(config);
  std::map<std::string, std::string> owner;
  for (std::int64_t i = 0; i < task->size("test"); ++i) {
    for (const auto& gold : task->problem("test", i).golds) {
      auto names = gold.aliases;
      names.push_back(gold.text);
      for (const auto& name : names) {
        ASSERT_FALSE(text::normalise(name).empty());
        const auto found = owner.emplace(text::normalise(name), gold.text).first;
        EXPECT_EQ(found->second, gold.text) << name << " names two conditions";
      }
      EXPECT_THAT(task->problem("test", i).messages[0].content, HasSubstr(gold.text));
    }
    if (i == 40) break;
  }
}

TEST(Ddxplus, ErrorsNameFileLineAndColumn) {
  SETRL_NEED_REAL_DATA(path, "ddxplus");
  Folder folder;
  const auto config = config_of(folder.path());
  EXPECT_THAT(error_of(config_of("no/such/folder")), HasSubstr("no/such/folder"));
  for (const char* name : {"release_conditions.json", "release_evidences.json"}) {
    std::filesystem::copy_file(path + "/" + name, folder.path() + "/" + name);
  }
  EXPECT_THAT(error_of(config), HasSubstr("neither train.csv nor release_train_patients[.csv] is there"));
  const std::string header = "AGE,DIFFERENTIAL_DIAGNOSIS,SEX,PATHOLOGY,EVIDENCES,INITIAL_EVIDENCE\n";
  const std::string good = "40,\"[['GERD', 1.0]]\",F,GERD,\"['E_201']\",E_201\n";
  folder.write("test.csv", header + good);
  folder.write("train.csv", header + good);
  EXPECT_EQ(error_of(config), "");
  folder.write("train.csv", header + good + "old,\"[['GERD', 1.0]]\",F,GERD,\"['E_201']\",E_201\n");
  EXPECT_THAT(error_of(config), HasSubstr("train.csv: line 3, column AGE"));
  folder.write("train.csv", header + "40,\"[['Gout', 1.0]]\",F,GERD,\"['E_201']\",E_201\n");
  EXPECT_THAT(error_of(config), HasSubstr("column DIFFERENTIAL_DIAGNOSIS"));
  folder.write("train.csv", header + "40,\"[['GERD', 1.0]]\",F,GERD\n");
  EXPECT_THAT(error_of(config), HasSubstr("train.csv: line 2"));
  folder.write("train.csv", header);
  EXPECT_THAT(error_of(config), HasSubstr("has no patients"));
}

}  // namespace
}  // namespace setrl::tasks
