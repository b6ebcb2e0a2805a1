// Hostile programs: each is contained, reported, and leaves neither process nor file nor influence behind.
#include <gmock/gmock.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "verify/hostile_forgeries.h"
#include "verify/hostile_programs.h"
#include "verify/sandbox_support.h"

namespace setrl::verify {
namespace {

using ::testing::HasSubstr;

// bwrap outside, bwrap inside, Python and its next child, of the programs and of the judge (setpriv became bwrap).
constexpr std::size_t kProcessesOfASandbox = 8;

// A well-behaved program that would notice what another one left: files, patched modules, a changed interpreter, a pipe
// that does not wait for its reader.
const char* const kWellBehaved = R"(
import json, math, os, sys
def answer():
    os.mkdir("/tmp/mine")
    open("/tmp/mine/file", "w").write(json.dumps([math.sqrt(4)]))
    left = sorted(set(os.listdir("/tmp")) - {"mine"})
    return left, open("/tmp/mine/file").read(), sys.getrecursionlimit(), isinstance(1, str), bool(0), "y" * 200_000
)";

// Waits until the processes that end have ended.
std::size_t settled_descendants(std::size_t at_most) {
  std::size_t count = 0;
  for (int i = 0; i < 200; ++i) {
    count = descendants().size();
    if (count <= at_most) return count;
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  return count;
}

class Hostile : public ::testing::TestWithParam<HostileProgram> {
 protected:
  static Sandbox& sandbox() {
    static Sandbox* const shared = new Sandbox(quick_limits());  // warm for all tests; ends with the process
    return *shared;
  }
};

TEST_P(Hostile, IsContained) {
  SKIP_WITHOUT_SANDBOX();
  const HostileProgram& hostile = GetParam();
  const bool denied = std::string(hostile.reason).empty();
  const std::string test = denied ? "assert answer() == 'contained'" : kSecretTest;
  ProgramTests tests{{}, "", {test}};
  const std::string canary = std::filesystem::temp_directory_path() / ("setrl-canary-" + std::to_string(::getpid()));
  std::ofstream(canary) << "untouched";
  std::filesystem::permissions(canary, std::filesystem::perms::all);

  const ProgramReport report = sandbox().run(tests, hostile.code);
  if (denied) {
    EXPECT_EQ(report.outcome, ProgramOutcome::passed) << report.reason;
  } else {
    EXPECT_EQ(report.outcome, ProgramOutcome::failed);
    EXPECT_THAT(report.reason, HasSubstr(hostile.reason));
  }
  EXPECT_LE(settled_descendants(kProcessesOfASandbox), kProcessesOfASandbox);
  std::string content;
  std::ifstream(canary) >> content;
  EXPECT_EQ(content, "untouched");
  std::filesystem::remove(canary);

  tests.tests = {"assert answer() == ([], '[2.0]', 1000, False, False, 'y' * 200000)"};
  const ProgramReport next = sandbox().run(tests, kWellBehaved);
  EXPECT_EQ(next.outcome, ProgramOutcome::passed) << "the next program: " << next.reason;
}

std::string name_of(const ::testing::TestParamInfo<HostileProgram>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(BreaksOut, Hostile, ::testing::ValuesIn(programs_that_break_out()), name_of);
INSTANTIATE_TEST_SUITE_P(Exhausts, Hostile, ::testing::ValuesIn(programs_that_exhaust()), name_of);
INSTANTIATE_TEST_SUITE_P(Forges, Hostile, ::testing::ValuesIn(programs_that_forge()), name_of);

TEST(HostilePrograms, AreMany) {
  EXPECT_GE(programs_that_break_out().size() + programs_that_exhaust().size() + programs_that_forge().size(), 80u);
}

TEST(HostilePrograms, NothingOutlivesTheSandbox) {
  SKIP_WITHOUT_SANDBOX();
  const std::size_t before = descendants().size();
  {
    Sandbox sandbox(quick_limits());
    sandbox.run({{}, "", {kSecretTest}},
                "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()");
    EXPECT_GT(descendants().size(), before);
  }
  EXPECT_LE(settled_descendants(before), before);
}

}  // namespace
}  // namespace setrl::verify
