#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "comm/mpi_runtime.h"
#include "support/mpi_reporter.h"
#include "support/mpi_world.h"

namespace setrl::testing {

comm::Threads threads_wanted = comm::Threads::one_at_a_time;

namespace {

MpiReporter* reporter = nullptr;  // owned by GoogleTest's list of listeners
comm::MpiRuntime* mpi = nullptr;  // owned by main

double deadline_from_environment() {
  const char* text = std::getenv("SETRL_TEST_DEADLINE_S");
  const double seconds = text == nullptr ? 60 : std::atof(text);
  return seconds > 0 ? seconds : 60;
}

int run_tests(int argc, char** argv) {
  const double deadline_s = deadline_from_environment();
  comm::MpiRuntime runtime(&argc, &argv, deadline_s / 3, threads_wanted);
  mpi = &runtime;
  ::testing::InitGoogleTest(&argc, argv);
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  reporter = new MpiReporter(runtime, deadline_s);
  listeners.Append(reporter);
  const int result = RUN_ALL_TESTS();
  const int agreed = reporter->finish(result);
  // The listener holds communicators: it goes before the runtime.
  delete listeners.Release(reporter);
  reporter = nullptr;
  mpi = nullptr;
  return agreed;
}

}  // namespace

comm::Communicator& world() {
  return reporter->test_world();
}

comm::MpiRuntime& runtime() {
  return *mpi;
}

}  // namespace setrl::testing

int main(int argc, char** argv) {
  return setrl::testing::run_tests(argc, argv);
}
