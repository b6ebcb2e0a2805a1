// The communicator tests over the stand-in for NCCL: a communicator for each test, all of whose memory counts as a
// GPU's.
#include <gtest/gtest.h>

#include <memory>

#include "comm/nccl_communicator.h"
#include "comm/under_test.h"
#include "support/mpi_world.h"

namespace setrl::comm {

Communicator& under_test::world() {
  static const ::testing::TestInfo* made_for = nullptr;
  static std::unique_ptr<Communicator> made;
  const auto* const running = ::testing::UnitTest::GetInstance()->current_test_info();
  if (made_for != running) {
    made.reset();
    made = std::make_unique<NcclCommunicator>(testing::runtime(), testing::world().split(0, "world"));
    made_for = running;
  }
  return *made;
}

}  // namespace setrl::comm
