// A wait that is in vain ends with an error that names who is missing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "base/error.h"
#include "support/mpi_world.h"

namespace setrl::comm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::runtime;
using testing::world;

constexpr int kDone = 77;

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const BugError& error) {
    return error.what();
  }
  return "no error";
}

int last() {
  return world().size() - 1;
}

// Keeps the last rank away from `collective`, without communication, until the others report.
void check_missing_rank(const std::string& verb, const std::function<void(Communicator&)>& collective) {
  const auto signals = world().split(0, "signals");
  runtime().set_deadline(0.3);
  if (world().rank() != last()) {
    const std::string error = error_of([&] { collective(world()); });
    EXPECT_THAT(error, AllOf(HasSubstr(verb), HasSubstr("of 'world'"), HasSubstr("waited longer than 0.3 s"),
                             HasSubstr("missing: rank " + std::to_string(last()) + " (busy outside communication"),
                             HasSubstr("arrived: 0")));
    // The communicator is of no use now, and says so instead of giving wrong answers.
    EXPECT_THAT(error_of([&] { world().barrier(); }), HasSubstr("after a collective that never ended: " + verb));
    signals->send(last(), kDone, {});
    return;
  }
  int left = last();
  while (left > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    while (signals->try_receive(kAnySource, kDone)) --left;
  }
}

TEST(Deadline, OfABarrierNamesTheMissing) {
  check_missing_rank("barrier #", [](Communicator& communicator) { communicator.barrier(); });
}

TEST(Deadline, OfASmallReductionNamesTheMissing) {
  check_missing_rank("all_reduce #", [](Communicator& communicator) {
    float value = 1;
    communicator.all_reduce(&value, 1, Reduction::sum);
  });
}

// A request fails where it is waited for. The first one makes its communicator, with all ranks.
TEST(Deadline, OfARequestNamesTheMissing) {
  const auto signals = world().split(0, "signals");
  std::vector<float> mine(100000), all(mine.size() * static_cast<std::size_t>(world().size()));
  const std::size_t bytes = mine.size() * sizeof(float);
  world().start_all_gather(mine.data(), bytes, all.data())->wait();
  runtime().set_deadline(0.3);
  if (world().rank() != last()) {
    const auto request = world().start_all_gather(mine.data(), bytes, all.data());
    EXPECT_THAT(error_of([&] { request->wait(); }),
                AllOf(HasSubstr("all_gather #"), HasSubstr("of 'world in the background'"),
                      HasSubstr("missing: rank " + std::to_string(last()))));
    signals->send(last(), kDone, {});
    return;
  }
  int left = last();
  while (left > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    while (signals->try_receive(kAnySource, kDone)) --left;
  }
}

TEST(Deadline, OfALargeGatherNamesTheMissing) {
  check_missing_rank("all_gather #", [](Communicator& communicator) {
    std::vector<float> mine(100000), all(mine.size() * static_cast<std::size_t>(communicator.size()));
    communicator.all_gather(mine.data(), mine.size() * sizeof(float), all.data());
  });
}

TEST(Deadline, OfASplitNamesTheMissing) {
  check_missing_rank("split #", [](Communicator& communicator) { communicator.split(0, "never"); });
}

// Rank 0 waits for the last rank, which waits elsewhere: the error says where.
TEST(Deadline, OfAReceiveTellsWhatTheSourceDoes) {
  if (world().rank() == 0) {
    runtime().set_deadline(0.3);
    EXPECT_THAT(error_of([] { world().receive(last(), 12); }),
                AllOf(HasSubstr("receive(source " + std::to_string(last()) + ", tag 12) of 'world'"),
                      HasSubstr("missing: rank " + std::to_string(last()) + " (waits in receive(source 0, tag 13)"),
                      Not(HasSubstr("arrived"))));
    world().send(last(), 13, {});
  } else if (world().rank() == last()) {
    world().receive(0, 13);
  }
  world().barrier();  // a receive that failed leaves the communicator usable
}

TEST(Deadline, OfAReceiveFromAnyoneListsEveryone) {
  if (world().rank() == 0) {
    runtime().set_deadline(0.3);
    const std::string error = error_of([] { world().receive(kAnySource, 12); });
    EXPECT_THAT(error, HasSubstr("receive(any source, tag 12)"));
    for (int r = 1; r < world().size(); ++r) {
      EXPECT_THAT(error, HasSubstr("rank " + std::to_string(r) + " (waits in barrier #1 of 'world')"));
    }
    runtime().set_deadline(20);
  }
  world().barrier();
}

TEST(Deadline, IsNotMetByAPartnerThatIsMerelyLate) {
  runtime().set_deadline(20);
  if (world().rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  world().barrier();
  if (world().rank() == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    for (int r = 1; r < world().size(); ++r) world().send(r, 1, {1});
  } else {
    EXPECT_EQ(world().receive(0, 1).bytes.size(), 1u);
  }
}

}  // namespace
}  // namespace setrl::comm
