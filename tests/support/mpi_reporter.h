// The GoogleTest listener of MPI tests: agrees on each test's verdict over all ranks and prints it once.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/mpi_runtime.h"
#include "support/watchdog.h"

namespace setrl::testing {

class MpiReporter : public ::testing::EmptyTestEventListener {
 public:
  // Every wait between the tests is limited to `deadline_s`, every wait inside one to a third of it.
  MpiReporter(comm::MpiRuntime& runtime, double deadline_s);

  comm::Communicator& test_world() { return test_world_ ? *test_world_ : runtime_.world(); }
  // Agrees on the end of the program over all ranks; the exit code is the same on each.
  int finish(int my_result);

  void OnTestProgramStart(const ::testing::UnitTest& unit_test) override;
  void OnTestStart(const ::testing::TestInfo& test) override;
  void OnTestPartResult(const ::testing::TestPartResult& part) override;
  void OnTestEnd(const ::testing::TestInfo& test) override;

 private:
  enum Result : std::uint8_t { passed = 0, skipped = 1, failed = 2 };
  // Runs something collective between tests; ends the job where a rank does not take part.
  void together(const std::string& what, const std::function<void()>& collective);
  // The ranks' results; ends the job where they are not at the same place.
  std::vector<Result> agree(const std::string& place, Result mine);
  void say(const std::string& line) const;

  comm::MpiRuntime& runtime_;
  double deadline_s_;
  int rank_, ranks_;
  std::unique_ptr<comm::Communicator> verdicts_;
  std::unique_ptr<comm::Communicator> test_world_;
  Watchdog watchdog_;
  int passed_ = 0, skipped_ = 0;
  std::vector<std::string> failures_;
};

}  // namespace setrl::testing
