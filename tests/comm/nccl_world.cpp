// The communicator tests over the stand-in for NCCL: a communicator for each test, all of whose memory counts as a
// GPU's.
#include <gtest/gtest.h>

#include <memory>

#include "comm/nccl_communicator.h"
#include "comm/under_test.h"
#include "support/mpi_world.h"

namespace setrl::comm {

namespace {

const ::testing::TestInfo* made_for = nullptr;
std::unique_ptr<Communicator> made;

// The last one goes before the program's end, which it does not outlive.
class Cleaner : public ::testing::Environment {
 public:
  void TearDown() override { made.reset(); }
};
[[maybe_unused]] const auto* const cleaner = ::testing::AddGlobalTestEnvironment(new Cleaner);

}  // namespace

Communicator& under_test::world() {
  const auto* const running = ::testing::UnitTest::GetInstance()->current_test_info();
  if (made_for != running) {
    made.reset();
    made = std::make_unique<NcclCommunicator>(testing::runtime(), testing::world().split(0, "world"));
    made_for = running;
  }
  return *made;
}

bool under_test::has_limits() {
  return false;
}

}  // namespace setrl::comm
