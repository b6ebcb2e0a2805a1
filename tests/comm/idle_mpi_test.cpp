// A rank that waits must not burn CPU: ranks of other roles compute on the same cores.
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <thread>

#include "support/mpi_world.h"

namespace setrl::comm {
namespace {

using testing::world;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// CPU time of rank 0 while it waits 0.8 s for rank 1. Spinning would cost all of it (half on a full machine); sleeping
// costs a hundredth. The bound lies far from both.
template <typename Wait, typename Release>
void check_idle(const Wait& wait, const Release& release) {
  world().barrier();
  if (world().rank() == 0) {
    const double before = cpu_seconds();
    wait();
    EXPECT_LT(cpu_seconds() - before, 0.15);
  } else {
    std::this_thread::sleep_for(std::chrono::milliseconds(800));
    release();
  }
}

TEST(Idle, ReceiveSleeps) {
  check_idle([] { world().receive(1, 1); }, [] { world().send(0, 1, {1}); });
}

TEST(Idle, BarrierSleeps) {
  check_idle([] { world().barrier(); }, [] { world().barrier(); });
}

TEST(Idle, LargeBroadcastSleepsUntilItsRootIsThere) {
  std::vector<float> values(1 << 20);
  const auto broadcast = [&] { world().broadcast(values.data(), values.size() * sizeof(float), 1); };
  check_idle(broadcast, broadcast);
}

TEST(Idle, ReductionSleeps) {
  const auto reduce = [] {
    double value = 1;
    world().all_reduce(&value, 1, Reduction::sum);
  };
  check_idle(reduce, reduce);
}

}  // namespace
}  // namespace setrl::comm
