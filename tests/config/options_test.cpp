#include "config/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "config/commands.h"
#include "config/option_table.h"

namespace setrl::config {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::vector<std::string>& arguments) {
  try {
    parse_command_line(arguments);
  } catch (const UserError& failure) {
    return failure.what();
  }
  return "";
}

class ConfigFile {
 public:
  explicit ConfigFile(const std::string& content) : path_(::testing::TempDir() + "options_test.cfg") {
    std::ofstream(path_) << content;
  }
  ~ConfigFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Options, TheCommandLineWinsOverTheFileAndTheFileOverDefaults) {
  const ConfigFile file("[learn]\nlearning_rate = 3e-5  # comment\nloss = sequence_mean\n[run]\nsteps = 7\n");
  const auto parsed = parse_command_line({"train", "--config", file.path(), "--run.steps=9", "--task.k", "4"});
  EXPECT_EQ(parsed.command, "train");
  EXPECT_EQ(parsed.config.run.steps, 9);
  EXPECT_EQ(parsed.config.task.k, 4);
  EXPECT_DOUBLE_EQ(parsed.config.learn.learning_rate, 3e-5);
  EXPECT_EQ(parsed.config.learn.loss, "sequence_mean");
  EXPECT_EQ(parsed.config.rollout.group_size, RunConfig{}.rollout.group_size);
}

TEST(Options, ErrorsNameTheKeyAndTheNearestValidOne) {
  EXPECT_THAT(error_of({"train", "--learn.learnin_rate=1"}), HasSubstr("learn.learning_rate"));
  EXPECT_THAT(error_of({"train", "--steps=1"}), HasSubstr("run.steps"));
  EXPECT_THAT(error_of({"train", "--run.step=1"}), HasSubstr("no option")) << "abbreviations are not guessed";
  EXPECT_THAT(error_of({"train", "--run.steps=1", "--run.steps=2"}), HasSubstr("twice"));
  EXPECT_THAT(error_of({"train", "--run.steps=many"}), HasSubstr("run.steps"));
  EXPECT_THAT(error_of({"train", "--task.k=0"}), HasSubstr("1 .. 16"));
  EXPECT_THAT(error_of({"train", "--learn.learning_rate=nan"}), HasSubstr("learn.learning_rate"));
  EXPECT_THAT(error_of({"train", "--learn.loss=mean"}), HasSubstr("token_mean"));
  EXPECT_THAT(error_of({"train", "--run.steps"}), HasSubstr("run.steps"));
  EXPECT_THAT(error_of({"train", "extra"}), HasSubstr("extra"));
  EXPECT_THAT(error_of({"tain"}), HasSubstr("train"));
  EXPECT_THAT(error_of({"train", "--config", "/no/such.cfg"}), HasSubstr("/no/such.cfg"));
  EXPECT_THAT(error_of({"ask", "--learn.loss=token_mean"}), HasSubstr("does not read"));
  EXPECT_THAT(error_of({"bench", "everything"}), HasSubstr("rollout"));
}

TEST(Options, FilesAreCheckedLikeTheCommandLine) {
  for (const char* content :
       {"[run]\nstep = 1\n", "[run]\nsteps = 1\nsteps = 2\n", "[run]\nsteps = x\n", "[run]\nsteps\n", "steps = 1\n"}) {
    const ConfigFile file(content);
    EXPECT_NE(error_of({"train", "--config", file.path()}), "") << content;
  }
}

TEST(Options, ShortNamesAndBareArgumentsBelongToTheCommand) {
  const auto inspect = parse_command_line({"inspect", "runs/x", "--step", "3", "--problem=demo/7"});
  EXPECT_EQ(inspect.config.inspect.path, "runs/x");
  EXPECT_EQ(inspect.config.inspect.step, 3);
  EXPECT_EQ(inspect.config.inspect.problem, "demo/7");
  EXPECT_EQ(parse_command_line({"bench", "learn", "--bench.new=5"}).subcommand, "learn");
  EXPECT_EQ(parse_command_line({"import", "a.gguf", "--output=x"}).config.export_.output, "x");
}

// Every option set to a value that is not its default survives dump and load.
TEST(Options, AFlagOfTheCommandNeedsNoValue) {
  EXPECT_TRUE(parse_command_line({"plan", "--check"}).config.plan.check);
  EXPECT_TRUE(parse_command_line({"plan", "--plan.check", "--plan.json"}).config.plan.json);
  EXPECT_FALSE(parse_command_line({"plan", "--check=no", "--json"}).config.plan.check);
  EXPECT_TRUE(parse_command_line({"plan", "--check", "--json"}).config.plan.json);
  EXPECT_THAT(error_of({"plan", "--check=perhaps"}), HasSubstr("plan.check"));
}

TEST(Options, AMachinesFileLiesBelowEverythingElse) {
  const ConfigFile file("[machine]\nname = here\nmemory_gb = 64\nlink_gb_s = 7\n");
  const auto machine = parse_command_line({"plan", "--machine", file.path(), "--machine.memory_gb=32"}).config.machine;
  EXPECT_EQ(machine.name, "here");
  EXPECT_EQ(machine.memory_gb, 32);
  EXPECT_EQ(machine.link_gb_s, 7);
  EXPECT_THAT(error_of({"plan", "--plan.machine=no/such.cfg"}), HasSubstr("no/such.cfg"));
}

TEST(Options, TheDumpReadsBackToAnEqualConfiguration) {
  RunConfig changed;
  for (const auto& option : option_table()) {
    if (option.effect == Effect::request) continue;
    const std::string before = option.get(changed);
    std::string value;
    if (option.type == "one of")
      value = option.range.substr(option.range.rfind(' ') + 1);
    else if (option.type == "yes/no")
      value = before == "yes" ? "no" : "yes";
    else if (option.type == "text")
      value = "some where/x";
    else
      value = option.type == "integer" ? (before == "32" ? "33" : "32") : "0.125";
    try {
      option.set(changed, value);
    } catch (const UserError&) {
      option.set(changed, option.range.substr(0, option.range.find(' ')));
    }
  }
  const ConfigFile file(dump(changed));
  const RunConfig loaded = load_file(file.path());
  EXPECT_EQ(dump(loaded), dump(changed));
  EXPECT_EQ(config_hash(loaded), config_hash(changed));
  EXPECT_THAT(differing_keys(loaded, changed), ::testing::IsEmpty());
  EXPECT_NE(config_hash(RunConfig{}), config_hash(changed));
}

TEST(Options, TheHashIgnoresWhereARunRuns) {
  RunConfig a, b;
  b.run.dir = "elsewhere";
  b.topology.learner = 2;
  EXPECT_EQ(config_hash(a), config_hash(b));
  b.learn.clip_low = 0.1;
  EXPECT_NE(config_hash(a), config_hash(b));
  EXPECT_THAT(differing_keys(a, b), ::testing::ElementsAre(HasSubstr("learn.clip_low")));
}

TEST(Options, HelpShowsEveryOptionOfEveryCommand) {
  for (const auto& command : commands()) {
    const std::string help = help_text(command.name);
    for (const auto& option : option_table()) {
      const bool read = std::count(command.sections.begin(), command.sections.end(), option.section()) != 0;
      EXPECT_EQ(help.find("--" + option.key + " ") != std::string::npos, read) << command.name << " " << option.key;
    }
  }
  EXPECT_THAT(help_text(""), HasSubstr("train"));
}

// The configurations in the repository are read by the commands that they are for.
TEST(Options, TheShippedConfigurationsAreValid) {
  const std::filesystem::path folder = std::filesystem::path(std::getenv("SETRL_SOURCE_DIR")) / "configs";
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".cfg") continue;
    EXPECT_EQ(error_of({"train", "--config", entry.path().string()}), "") << entry.path();
    ++count;
  }
  EXPECT_GE(count, 1);
}

}  // namespace
}  // namespace setrl::config
