// What holds for MPI alone.
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/under_test.h"
#include "support/mpi_world.h"

namespace setrl::comm {

Communicator& under_test::world() {
  return testing::world();
}

bool under_test::has_limits() {
  return true;
}

namespace {

using testing::world;

// What rank 0 still sends on a communicator that is gone elsewhere must not reach the communicators made next.
TEST(Messages, LeftBehindAreNotTakenForOthers) {
  for (int round = 0; round < 40; ++round) {
    auto left = world().split(0, "left");
    float value = 0;
    for (int i = 0; i < (left->rank() == 0 ? 4 : 1); ++i) left->broadcast(&value, sizeof value, 0);
    left.reset();
    for (const char* name : {"second", "third"}) {
      const auto next = world().split(0, name);
      for (const std::size_t count : {1, 50000}) {
        std::vector<float> values(count, static_cast<float>(next->rank() + round));
        next->broadcast(values.data(), values.size() * sizeof(float), 0);
        EXPECT_EQ(values, std::vector<float>(count, static_cast<float>(round)));
      }
    }
  }
}

// The library's default is to end the job at an error; this shows that errors come back, on split communicators too.
TEST(Errors, OfMpiAreExceptions) {
  if (world().size() == 1) GTEST_SKIP() << "one rank has no MPI communicator";
  const auto part = world().split(0, "part");
  for (Communicator* communicator : {&world(), part.get()}) {
    try {
      communicator->send(world().size(), 1, {1});
      FAIL() << "no error";
    } catch (const BugError& error) {
      EXPECT_NE(std::string(error.what()).find("MPI_ERR_RANK"), std::string::npos) << error.what();
    }
    EXPECT_THROW(communicator->send((world().rank() + 1) % world().size(), -5, {1}), BugError);
    EXPECT_THROW(communicator->receive(world().size(), 1), BugError);
  }
  world().barrier();
}

// A partner that sends less than is expected is an error, not a half-filled buffer; the same size is no error.
TEST(Errors, OfParcelsOfAnotherSize) {
  if (world().size() == 1) GTEST_SKIP() << "needs two ranks";
  std::vector<std::uint8_t> bytes(1000);
  if (world().rank() == 0) world().exchange({{1, bytes.data(), 900}}, {});
  if (world().rank() == 1) {
    try {
      world().exchange({}, {{0, bytes.data(), 1000}});
      FAIL() << "no error";
    } catch (const BugError& error) {
      EXPECT_NE(std::string(error.what()).find("sent a parcel of 900 bytes where 1000 were expected"),
                std::string::npos)
          << error.what();
    }
  }
}

TEST(Errors, OfParcelsToOneself) {
  std::uint8_t byte = 1;
  const int me = world().rank();
  EXPECT_THROW(world().exchange({{me, &byte, 1}}, {}), BugError);
  EXPECT_THROW(world().exchange({}, {{me, &byte, 1}}), BugError);
  EXPECT_THROW(world().exchange({{world().size(), &byte, 1}}, {}), BugError);
}

}  // namespace
}  // namespace setrl::comm
