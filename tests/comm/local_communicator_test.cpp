#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/communicator.h"

namespace setrl::comm {
namespace {

TEST(LocalCommunicator, IsAWorldOfOne) {
  const auto local = make_local_communicator("alone");
  EXPECT_EQ(local->rank(), 0);
  EXPECT_EQ(local->size(), 1);
  EXPECT_EQ(local->name(), "alone");
  local->barrier();
  std::vector<float> values{1, 2, 3};
  local->broadcast(values.data(), 12, 0);
  local->all_reduce(values.data(), 3, Reduction::sum);
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3}));
  std::vector<float> copy(3);
  local->all_gather(values.data(), 12, copy.data());
  EXPECT_EQ(copy, values);
  std::vector<float> scattered(3);
  local->reduce_scatter_sum(values.data(), scattered.data(), 3);
  EXPECT_EQ(scattered, values);
  EXPECT_EQ(all_gather_bytes(*local, {4, 5}), (std::vector<std::vector<std::uint8_t>>{{4, 5}}));
  EXPECT_EQ(all_gather_bytes(*local, {}), (std::vector<std::vector<std::uint8_t>>{{}}));
}

TEST(LocalCommunicator, QueuesMessagesToItselfByTag) {
  const auto local = make_local_communicator("alone");
  EXPECT_FALSE(local->try_receive(kAnySource, 3).has_value());
  local->send(0, 3, {1});
  local->send(0, 4, {2});
  local->send(0, 3, {3});
  EXPECT_EQ(local->receive(0, 4).bytes, std::vector<std::uint8_t>{2});
  const Envelope first = local->receive(kAnySource, 3);
  EXPECT_EQ(first.source, 0);
  EXPECT_EQ(first.tag, 3);
  EXPECT_EQ(first.bytes, std::vector<std::uint8_t>{1});
  EXPECT_EQ(local->receive(0, 3).bytes, std::vector<std::uint8_t>{3});
}

TEST(LocalCommunicator, RefusesWhatCannotBe) {
  const auto local = make_local_communicator("alone");
  EXPECT_THROW(local->receive(0, 3), BugError);  // it would wait for ever
  EXPECT_THROW(local->send(1, 3, {}), BugError);
  EXPECT_THROW(local->send(0, -1, {}), BugError);
  EXPECT_THROW(local->try_receive(1, 3), BugError);
  EXPECT_THROW(local->broadcast(nullptr, 0, 1), BugError);
}

TEST(LocalCommunicator, SplitsIntoItselfOrNothing) {
  const auto local = make_local_communicator("alone");
  EXPECT_EQ(local->split(-1, "none"), nullptr);
  const auto part = local->split(7, "part");
  ASSERT_NE(part, nullptr);
  EXPECT_EQ(part->name(), "part");
  local->send(0, 1, {1});
  EXPECT_FALSE(part->try_receive(0, 1).has_value());
}

}  // namespace
}  // namespace setrl::comm
