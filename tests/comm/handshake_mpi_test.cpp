// Ranks that differ are named with what differs; equal ones pass.
#include "comm/handshake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/mpi_world.h"

namespace setrl::comm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::world;

std::string error_of(const std::vector<Fact>& facts) {
  try {
    check_agreement(world(), facts);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Handshake, LetsEqualRanksPass) {
  EXPECT_EQ(error_of({{"the program's build", "abc"}, {"run.seed", "43"}, {"empty", ""}}), "");
}

TEST(Handshake, NamesRankHostAndValue) {
  const int last = world().size() - 1;
  const bool odd = world().rank() == last;
  const std::string error = error_of({{"the program's build", odd ? "def" : "abc"}, {"run.seed", "43"}});
  // The same text on every rank.
  EXPECT_THAT(error, HasSubstr("the ranks disagree: rank " + std::to_string(last) + " on host "));
  EXPECT_THAT(error, HasSubstr("the program's build is 'def' there, 'abc' on rank 0"));
  EXPECT_THAT(error, Not(HasSubstr("run.seed")));
}

TEST(Handshake, NoticesAMissingSettingAndAnExtraOne) {
  const bool odd = world().rank() == 1;
  std::vector<Fact> facts = {{"run.seed", "43"}};
  if (!odd) facts.push_back({"learn.new", "1"});
  EXPECT_THAT(error_of(facts), HasSubstr("learn.new is '(missing)' there, '1' on rank 0"));
  facts = {{"run.seed", "43"}};
  if (odd) facts.push_back({"learn.new", "1"});
  EXPECT_THAT(error_of(facts), HasSubstr("settings that rank 0 does not have"));
}

}  // namespace
}  // namespace setrl::comm
