// Sets of programs: correctness, distinct programs, failures of the sandbox, tests that can and cannot be judged.
#include "verify/program_grader.h"

#include <gmock/gmock.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/system.h"
#include "verify/sandbox_support.h"

namespace setrl::verify {
namespace {

using ::testing::HasSubstr;

RunConfig config_of(int k) {
  RunConfig config;
  config.task.name = "mbpp";
  config.task.k = k;
  config.reward.kind = "rlvr";
  config.verify = quick_limits();
  return config;
}

Problem doubling() {
  Problem problem;
  problem.id = "mbpp/train/1";
  problem.payload =
      nlohmann::json{{"imports", nlohmann::json::array()},
                     {"setup", ""},
                     {"tests", {"assert twice(2) == 4", "assert twice(-1) == -2", "assert twice(0) == 0"}}}
          .dump();
  return problem;
}

std::string text_of(const std::vector<std::string>& programs) {
  std::string text = "<think>double it</think>";
  for (std::size_t i = 0; i < programs.size(); ++i) {
    const std::string number = programs.size() == 1 ? "" : std::to_string(i + 1);
    text += "\n<answer" + number + ">" + programs[i] + "</answer" + number + ">";
  }
  return text;
}

TEST(ProgramText, FencesAndLineEnds) {
  EXPECT_EQ(program_text("a = 1\r\nb = 2"), "a = 1\nb = 2");
  EXPECT_EQ(program_text("```python\na = 1\nb = 2\n```"), "a = 1\nb = 2\n");
  EXPECT_EQ(program_text("```\r\na = 1\r\n```"), "a = 1\n");
  EXPECT_EQ(program_text("```python\na = 1"), "```python\na = 1");
  EXPECT_EQ(program_text("a = '```'\n```"), "a = '```'\n```");
  EXPECT_EQ(program_text("```"), "```");
}

TEST(ProgramTests, ComeFromThePayload) {
  EXPECT_EQ(program_tests(doubling()).tests.size(), 3u);
  Problem problem = doubling();
  for (const char* payload : {"", "{}", "[]", R"({"tests": []})", R"({"tests": 3})"}) {
    problem.payload = payload;
    EXPECT_THROW(program_tests(problem), UserError) << payload;
  }
}

TEST(ProgramVerifier, CountsEachDifferentProgramOnce) {
  SKIP_WITHOUT_SANDBOX();
  const Verifier verifier(config_of(5));
  const std::string text = text_of({"def twice(x):\n    return 2 * x",
                                    "def twice(number):\n  # the same\n  return 2*number", "def twice(x): return x + x",
                                    "def twice(x): return x * x", "```python\ndef twice(x):\n    return x + \n```"});
  const Verdict verdict = verifier.verify(doubling(), text, true, 40);
  ASSERT_EQ(verdict.outcome, Outcome::graded) << verdict.answers.malformed_reason;
  EXPECT_EQ(verdict.correct, (std::vector<std::uint8_t>{1, 0, 1, 0, 0}));
  EXPECT_EQ(verdict.matched_gold, (std::vector<std::int32_t>{0, 0, 1, -1, -1}));
  ASSERT_EQ(verdict.programs.size(), 5u);
  EXPECT_EQ(verdict.programs[0].tree, verdict.programs[1].tree);
  EXPECT_NE(verdict.programs[0].tree, verdict.programs[2].tree);
  EXPECT_EQ(verdict.programs[0].behaviour, verdict.programs[2].behaviour);
  EXPECT_NE(verdict.programs[0].behaviour, verdict.programs[3].behaviour);
  EXPECT_EQ(verdict.programs[0].reason, "");
  EXPECT_EQ(verdict.programs[3].reason, "test 2 is false");
  EXPECT_EQ(verdict.programs[4].tree, 0u);
  EXPECT_THAT(verdict.programs[4].reason, HasSubstr("SyntaxError"));
  EXPECT_DOUBLE_EQ(verdict.total, 0.5 + 0.5 * 2);
}

TEST(ProgramVerifier, AGroupIsTheSameAsItsSetsOneByOne) {
  SKIP_WITHOUT_SANDBOX();
  const Verifier verifier(config_of(2));
  std::vector<CompletionText> texts;
  for (int i = 0; i < 6; ++i) {
    const std::string extra(static_cast<std::size_t>(i % 3), '\n');
    texts.push_back(
        {text_of({"def twice(x): return 2 * x" + extra + "# a", "def twice(x): return " + std::to_string(i)}), i != 4,
         20});
  }
  texts.push_back({"no answer", true, 3});
  const auto together = verifier.verify_all(doubling(), texts);
  ASSERT_EQ(together.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Verdict alone = verifier.verify(doubling(), texts[i].text, texts[i].ended, texts[i].tokens);
    EXPECT_EQ(together[i].outcome, i == 4 || i == 6 ? Outcome::bad_format : Outcome::graded);
    EXPECT_EQ(together[i].outcome, alone.outcome);
    EXPECT_EQ(together[i].correct, alone.correct);
    EXPECT_EQ(together[i].total, alone.total);
    ASSERT_EQ(together[i].programs.size(), alone.programs.size());
    for (std::size_t j = 0; j < alone.programs.size(); ++j) {
      EXPECT_EQ(together[i].programs[j].tree, alone.programs[j].tree);
      EXPECT_EQ(together[i].programs[j].behaviour, alone.programs[j].behaviour);
    }
  }
}

TEST(ProgramVerifier, Abstentions) {
  SKIP_WITHOUT_SANDBOX();
  RunConfig config = config_of(3);
  config.reward.abstention = true;
  const Verdict verdict =
      Verifier(config).verify(doubling(), text_of({"def twice(x): return 2 * x", "none", "None"}), true, 9);
  ASSERT_EQ(verdict.outcome, Outcome::graded) << verdict.answers.malformed_reason;
  EXPECT_EQ(verdict.matched_gold, (std::vector<std::int32_t>{0, kAbstained, kAbstained}));
}

// Trees are equal up to the names that the program binds, docstrings and hints; not up to anything that computes.
TEST(DistinctPrograms, SyntaxTrees) {
  SKIP_WITHOUT_SANDBOX();
  Sandbox sandbox(quick_limits());
  const ProgramTests tests{{}, "", {"assert f([1]) == 1"}};
  const auto tree = [&](const std::string& program) { return sandbox.run(tests, program).tree; };
  const std::string base =
      "import math as m\ndef f(values):\n    total = 0\n    for v in values:\n        total += m.floor(v)\n"
      "    return total\n";
  const auto same = tree(base);
  EXPECT_NE(same, 0u);
  EXPECT_EQ(tree("import math\n\ndef f(a: list) -> int:\n  '''Sums.'''\n  t: int = 0\n  for x in a:  # each\n    t += "
                 "math.floor(x)\n  return (t)\n"),
            same);
  for (const char* other :
       {"import math as m\ndef f(values):\n    total = 1\n    for v in values:\n        total += m.floor(v)\n"
        "    return total\n",
        "import math as m\ndef f(values):\n    total = 0\n    for v in values:\n        total += m.ceil(v)\n"
        "    return total\n",
        "import math as m\ndef f(values):\n    total = 0\n    for v in values:\n        total -= m.floor(v)\n"
        "    return total\n",
        "import math as m\ndef f(values):\n    total = 0\n    for v in values:\n        total += m.floor(v)\n"
        "    return v\n",
        "def f(values): return sum(values)\n", "def f(values): return len(values)\n"}) {
    EXPECT_NE(tree(other), same) << other;
  }
  EXPECT_NE(tree("def f(v): return sum(v)\n"), tree("def f(v): return len(v)\n"));  // names that it does not bind
  EXPECT_EQ(tree("def f(v, *, key=1): return g(v, key=key)\ndef g(w, key): return 1\n"),
            tree("def f(a, *, b=1): return h(a, b=b)\ndef h(c, b): return 1\n"));
  EXPECT_EQ(tree("def f(:"), 0u);
}

struct JudgedTest {
  const char* program;
  const char* setup;
  const char* test;
  bool passes;
};

// Forms of tests, their values and their order: program, set-up, tests.
TEST(Judge, FormsOfTests) {
  SKIP_WITHOUT_SANDBOX();
  Sandbox sandbox(quick_limits());
  const JudgedTest list[] = {
      {"def f(): return [1, (2.5, 'a'), {3}, {'k': None}]", "", "assert f() == [1, (2.5, 'a'), {3}, {'k': None}]",
       true},
      {"def f(): return (1, 2)", "", "assert f() == [1, 2]", false},
      {"def f(): return True", "", "assert f() == 1", true},
      {"def f(): return True", "", "assert f() is True", true},
      {"def f(): return 1", "", "assert f() is True", false},
      {"def f(): return None", "", "assert f() is None and not f()", true},
      {"def f(): return 1 << 200", "", "assert f() == 2 ** 200", true},
      {"def f(): return 0.1 + 0.2", "", "assert f() == 0.30000000000000004", true},
      {"def f(): return 0.1 + 0.2", "", "assert math.isclose(f(), 0.3, rel_tol=1e-9)", true},
      {"def f(): return 0.1 + 0.2", "", "import math\nassert math.isclose(f(), 0.31)", false},
      {"def f(): return float('nan')", "", "assert f() != f()", true},
      {"def f(): return complex(1, -2)", "", "assert f() == 1 - 2j", true},
      {"def f(): return b'\\x00\\xff'", "", "assert f() == b'\\x00\\xff'", true},
      {"def f(): return '\\ud800\\u20ac\\0'", "", "assert f() == '\\ud800\\u20ac\\0'", true},
      {"def f(): return (i for i in range(3))", "", "assert list(f()) == [0, 1, 2]", true},
      {"def f(): return map(str, [1])", "", "assert f() == ['1']", false},
      {"import collections\ndef f(): return collections.Counter('aab')", "", "assert f() == {'a': 2, 'b': 1}", true},
      {"import decimal, fractions\ndef f(): return decimal.Decimal('1.10'), fractions.Fraction(1, 3)", "",
       "assert f() == (decimal.Decimal('1.1'), fractions.Fraction(1, 3))", true},
      {"import datetime\ndef f(): return datetime.date(2020, 2, 29)", "", "assert f() == datetime.date(2020, 2, 29)",
       true},
      {"def f(): return {1: 2}.keys()", "", "assert f() == {1}", true},
      {"def f(): return range(3)", "", "assert f() == range(0, 3)", true},
      {"def f(x): return sorted(x)", "", "assert sorted(f([2, 1]), key=lambda v: -v) == [i for i in (2, 1)]", true},
      {"def f(x): x.append(1)", "", "values = [0]\nf(values)\nassert values == [0, 1]", true},
      {"def sum(a, b): return a - b", "", "assert sum(10, 4) == 6", true},
      {"def sum(a, b): return a + b", "", "assert sum(10, 4) == 6", false},
      {"class Node:\n  def __init__(self, v): self.v = v\ndef f(n): return n.v", "root = Node(5)",
       "assert f(root) == 5", true},
      {"def f(n): return n", "root = Node(5)", "assert f(1) == 1", false},
      {"state = []\ndef f(): state.append(1); return len(state)", "f()", "assert f() == 2", true},
      {"def f(): return 1", "", "assert f() == 1, 'a message'", true},
      {"def f(): return 1", "", "assert f() == 1\nassert f() == 2", false},
      {"def f(): raise ValueError('no')", "", "assert f() == 1", false},
      {"def g(): return 1", "", "assert f() == 1", false},
      {"def f(): return 'x'", "", "assert isinstance(f(), str) and len(f()) == 1", true},
      {"def f(): return object()", "", "assert f() == 1", false},
      {"if __name__ == '__main__':\n  answer = 4\ndef f(): return answer", "", "assert f() == 4", true},
  };
  for (const auto& each : list) {
    const ProgramReport report = sandbox.run({{}, each.setup, {each.test}}, each.program);
    EXPECT_EQ(report.outcome, each.passes ? ProgramOutcome::passed : ProgramOutcome::failed) << each.program << "\n"
                                                                                             << each.test << "\n"
                                                                                             << report.reason;
  }
}

TEST(Judge, RefusesTestsThatItCannotSplit) {
  SKIP_WITHOUT_SANDBOX();
  Sandbox sandbox(quick_limits());
  for (const char* test : {"for i in range(3):\n    assert f(i) == i", "assert all(f(i) == i for i in range(3))",
                           "try:\n    f(1)\n    assert False\nexcept ValueError: pass", "assert f(1 == 1"}) {
    EXPECT_THROW(sandbox.run({{}, "", {test}}, "def f(x): return x"), UserError) << test;
  }
  EXPECT_EQ(sandbox.run({{}, "", {"assert f(1) == 1"}}, "def f(x): return x").outcome, ProgramOutcome::passed);
}

TEST(Sandboxes, StayWarm) {
  SKIP_WITHOUT_SANDBOX();
  Sandbox sandbox(quick_limits());
  const ProgramTests tests{{}, "", {"assert f() == 1"}};
  for (int i = 0; i < 20; ++i) sandbox.run(tests, "def f(): return " + std::to_string(i));
  EXPECT_EQ(sandbox.starts(), 2);  // one for programs, one for the judge
  sandbox.run(tests, "def f(): open('/tmp/x', 'w')");
  sandbox.run(tests, "def f(): return 1");
  EXPECT_EQ(sandbox.starts(), 3);  // what was written to is thrown away
}

VerifySection behind(const std::string& command) {
  VerifySection verify = quick_limits();
  verify.sandbox = "command";
  verify.command = command;
  verify.retries = 1;
  return verify;
}

TEST(Sandboxes, WhereTheyCannotWorkTheRunDoesNotBegin) {
  for (const char* command : {"/bin/false", "/nonexistent/program", "/bin/echo"}) {
    try {
      SandboxPool pool(behind(command));
      FAIL() << command;
    } catch (const UserError& failure) {
      EXPECT_THAT(failure.what(), HasSubstr("does not work here"));
      EXPECT_THAT(failure.what(), HasSubstr("apptainer"));
      EXPECT_THAT(failure.what(), HasSubstr("unsafe-none"));
    }
  }
  EXPECT_THROW(SandboxPool(behind("")), UserError);
}

// A wrapper that stands for a cluster's container command.
TEST(Sandboxes, ACommandInFrontOfPython) {
  SandboxPool pool(behind("nice -n 1"));
  const auto reports = pool.run({{}, "", {"assert f() == 1"}}, {"def f(): return 1", "def f(): return 2",
                                                                "import os\ndef f(): return 1 if os.fork() else 0"});
  EXPECT_EQ(reports[0].outcome, ProgramOutcome::passed) << reports[0].reason;
  EXPECT_EQ(reports[1].outcome, ProgramOutcome::failed);
  EXPECT_THAT(reports[2].reason, HasSubstr("PermissionError"));
}

// Without a sandbox the filter, the limits and the judge are still there.
TEST(Sandboxes, NoneByExplicitOption) {
  VerifySection verify = quick_limits();
  verify.sandbox = "unsafe-none";
  SandboxPool pool(verify);
  const auto reports = pool.run({{}, "", {"assert f() == 7"}},
                                {"def f(): return 7", "import os\ndef f(): return os.fork()",
                                 "import socket\ndef f(): return socket.socket()", "def f():\n    while True: pass"});
  EXPECT_EQ(reports[0].outcome, ProgramOutcome::passed) << reports[0].reason;
  EXPECT_THAT(reports[1].reason, HasSubstr("PermissionError"));
  EXPECT_THAT(reports[2].reason, HasSubstr("PermissionError"));
  EXPECT_THAT(reports[3].reason, HasSubstr("CPU time"));
}

// The sandbox dies with every program: retried, then an outcome of its own, never a wrong answer.
TEST(Sandboxes, FailuresAreNoVerdict) {
  const std::string folder = std::filesystem::temp_directory_path() / ("setrl-failing-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const std::string script = folder + "/launcher.sh";
  // Starts that work until the file `broken` is there.
  std::ofstream(script) << "test -e " << folder << "/broken && exit 7\necho x >> " << folder
                        << "/starts\nexec \"$@\"\n";
  RunConfig config = config_of(1);
  config.verify = behind("/bin/sh " + script);
  config.verify.workers = 1;
  config.verify.retries = 2;
  {
    const Verifier verifier(config);
    std::ofstream(folder + "/broken") << "x";
    const Verdict verdict = verifier.verify(doubling(), text_of({"def twice(x): return 2 * x"}), true, 9);
    EXPECT_EQ(verdict.outcome, Outcome::infrastructure_failure);
    EXPECT_EQ(verdict.total, 0);
    EXPECT_TRUE(verdict.correct.empty());
    EXPECT_THAT(verdict.programs.at(0).reason, HasSubstr("the sandbox "));
    std::filesystem::remove(folder + "/broken");
    EXPECT_EQ(verifier.verify(doubling(), text_of({"def twice(x): return 2 * x"}), true, 9).correct_count(), 1);
  }
  std::filesystem::remove_all(folder);
}

// A program that would be in time on an idle machine is never called wrong because other processes have the cores.
TEST(Sandboxes, AnOverloadedMachineIsNotTheProgramsFault) {
  SKIP_WITHOUT_SANDBOX();
  VerifySection verify = quick_limits();
  verify.wall_s = 0.5;
  SandboxPool pool(verify);
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 4 * available_cores(); ++i) {
    others.emplace_back([&stop] {
      while (!stop) {
      }
    });
  }
  const std::string busy = "import time\ndef f():\n    while time.process_time() < 0.3: pass\n    return 1\n";
  const auto reports = pool.run({{}, "", {"assert f() == 1"}}, {busy, busy + "# again", busy + "# and again"});
  stop = true;
  for (auto& other : others) other.join();
  for (const auto& report : reports) EXPECT_NE(report.outcome, ProgramOutcome::failed) << report.reason;
}

TEST(Sandboxes, ManyProducersAtOnce) {
  SKIP_WITHOUT_SANDBOX();
  SandboxPool pool(quick_limits());
  std::vector<std::thread> producers;
  std::vector<int> right(6, 0);
  for (std::size_t p = 0; p < right.size(); ++p) {
    producers.emplace_back([&, p] {
      const std::string number = std::to_string(p);
      const ProgramTests tests{{}, "", {"assert f() == " + number}};
      std::vector<std::string> programs;
      for (std::size_t i = 0; i < 10; ++i) programs.push_back("def f(): return " + std::to_string(i));
      const auto reports = pool.run(tests, programs);
      for (std::size_t i = 0; i < 10; ++i) {
        right[p] += (reports[i].outcome == ProgramOutcome::passed) == (i == p) ? 1 : 0;
      }
    });
  }
  for (auto& producer : producers) producer.join();
  for (const int count : right) EXPECT_EQ(count, 10);
}

}  // namespace
}  // namespace setrl::verify
