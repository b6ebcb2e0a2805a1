#include "rollout/thread_team.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <thread>

#include "base/system.h"

namespace setrl::rollout {
namespace {

TEST(ThreadTeam, EveryIndexRunsOnceAndBarriersSeparateStages) {
  for (const int threads : {1, 2, 3}) {
    ThreadTeam team(threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<std::atomic<int>> first(17), second(17);
      std::atomic<int> early{0};
      team.run([&](int thread) {
        team.for_each(thread, 17, [&](std::int64_t i, std::int64_t) { ++first[static_cast<std::size_t>(i)]; });
        team.for_each(thread, 17, [&](std::int64_t i, std::int64_t) {
          for (const auto& count : first) early += count != 1;
          ++second[static_cast<std::size_t>(i)];
        });
      });
      EXPECT_EQ(early, 0);
      for (const auto& count : second) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadTeam, BoundThreadsRunOnTheirCoresAndTheCallerIsFreeAfterwards) {
  const auto all = core_numbers();
  ASSERT_FALSE(all.empty());
  const std::vector<int> cores = {all.back(), all.front(), all.back()};
  ThreadTeam team(3, cores);
  std::vector<int> seen(3, -1);
  team.run([&](int thread) { seen[static_cast<std::size_t>(thread)] = sched_getcpu(); });
  EXPECT_EQ(seen, cores);
  EXPECT_EQ(core_numbers(), all);
}

TEST(ThreadTeam, ThreadsThatFellAsleepWakeAgain) {
  ThreadTeam team(3);
  std::atomic<int> sum{0};
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    team.run([&](int thread) {
      if (thread == 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      team.for_each(thread, 10, [&](std::int64_t i, std::int64_t) { sum += static_cast<int>(i); });
    });
  }
  EXPECT_EQ(sum, 3 * 45);
}

TEST(ThreadTeam, NextIndexIsTheOneThatFollows) {
  ThreadTeam team(2);
  std::atomic<int> wrong{0};
  team.run([&](int thread) {
    std::int64_t expected = thread;
    team.for_each(thread, 50, [&](std::int64_t i, std::int64_t next) {
      wrong += i != expected;
      expected = next;
    });
  });
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace setrl::rollout
