#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"

namespace setrl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Log, FileHoldsEveryLevelWithRankAndRole) {
  const std::string path = ::testing::TempDir() + "setrl_log_test.log";
  std::filesystem::remove(path);
  log::set_level("error");  // of the terminal; the file takes all
  log::set_identity(3, "verifier");
  log::open_file(path);
  log::debug("a detail {}", 1);
  log::info("a fact");
  log::warning("a {} thing", "strange");
  log::set_identity(4, "");
  log::error("an end");
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_THAT(text.str(), AllOf(HasSubstr("[rank 3 verifier] a detail 1"), HasSubstr("[rank 3 verifier] a fact"),
                                HasSubstr("[rank 3 verifier] a strange thing"), HasSubstr("[rank 4] an end")));
  EXPECT_THAT(text.str(), Not(HasSubstr("rank 4 verifier")));
  std::filesystem::remove(path);
}

TEST(Log, RefusesUnknownLevelsAndPlaces) {
  EXPECT_THROW(log::set_level("loud"), UserError);
  EXPECT_THROW(log::open_file("/proc/nowhere/x.log"), UserError);
}

}  // namespace
}  // namespace setrl
