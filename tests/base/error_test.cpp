#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/clock.h"
#include "base/system.h"

namespace setrl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Check, NamesPlaceConditionAndValues) {
  const int found = 3;
  try {
    SETRL_CHECK(found == 4, "found {} of {}", found, 4);
    FAIL() << "no error";
  } catch (const BugError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("error_test.cpp:"), HasSubstr("found == 4"), HasSubstr("found 3 of 4")));
  }
}

TEST(Check, EvaluatesItsConditionOnceAndItsMessageOnlyOnFailure) {
  int conditions = 0, messages = 0;
  const auto message = [&] { return ++messages; };
  SETRL_CHECK(++conditions == 1, "{}", message());
  EXPECT_EQ(conditions, 1);
  EXPECT_EQ(messages, 0);
}

TEST(UserError, IsNoBugError) {
  try {
    throw_user_error("cannot read {}", "x.cfg");
    FAIL() << "no error";
  } catch (const std::exception& error) {
    EXPECT_STREQ(error.what(), "cannot read x.cfg");
    EXPECT_NE(dynamic_cast<const UserError*>(&error), nullptr);
    EXPECT_EQ(dynamic_cast<const BugError*>(&error), nullptr);
  }
}

TEST(Deadline, PassesAfterItsTimeOrNever) {
  const Deadline soon(0.001), never(0), also_never(-1);
  const Stopwatch clock;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(soon.passed());
  EXPECT_FALSE(never.passed());
  EXPECT_FALSE(also_never.passed());
  EXPECT_FALSE(Deadline(1000).passed());
  EXPECT_GE(clock.seconds(), 0.02);
}

TEST(Stopwatch, RestartsAtZero) {
  Stopwatch clock;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_GE(clock.restart(), 0.02);
  EXPECT_GE(clock.seconds(), 0);
}

TEST(System, KnowsThisMachine) {
  EXPECT_FALSE(cpu_name().empty());
  EXPECT_FALSE(host_name().empty());
  EXPECT_GE(available_cores(), 1);
  EXPECT_GT(available_memory_bytes(), 1 << 20);
  const auto before = peak_rss_bytes();
  EXPECT_GT(before, 1 << 20);
  std::vector<char> block(std::size_t{64} << 20, 1);
  EXPECT_GT(peak_rss_bytes(), before + block[7] * (32 << 20));
}

}  // namespace
}  // namespace setrl
