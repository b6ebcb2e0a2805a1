"""Runs the self-test program of the MPI main and checks what it says: check.py CASE MPIEXEC PROGRAM."""

import os
import subprocess
import sys
import time

DEADLINE_S = 6

# case -> (test that misbehaves, texts that must be in the output, texts that must not, must it succeed)
CASES = {
    "passes": (None, ["[       OK ] Selftest.PassesBefore", "[       OK ] Selftest.PassesLater", "[  PASSED  ] 2 tests."],
               ["FAILED", "Failure"], True),
    "one_rank_fails": ("OneRankFails",
                       ["[       OK ] Selftest.PassesBefore", "[rank 1] on purpose",
                        "[  FAILED  ] Selftest.OneRankFails (rank 1)", "[       OK ] Selftest.PassesLater"],
                       ["[rank 0]", "[rank 2]"], False),
    "throws": ("OneRankThrows",
               ["thrown on purpose", "[  FAILED  ] Selftest.OneRankThrows (rank 1)",
                "[       OK ] Selftest.PassesLater"], ["[rank 0]", "[rank 2]"], False),
    "leaves_early": ("OneRankLeavesEarly",
                     ["[rank 1] on purpose", "barrier #1 of 'world' waited longer than 2 s; missing: rank 1",
                      "[  FAILED  ] Selftest.OneRankLeavesEarly (ranks 0 1 2)", "[       OK ] Selftest.PassesLater"],
                     [], False),
    "hangs": ("OneRankHangs", ["Selftest.OneRankHangs: not all ranks came to the end of it", "missing: rank 1"],
              ["PassesLater"], False),
    "exits": ("OneRankExits", [], ["[       OK ] Selftest.OneRankExits", "PassesLater"], False),
}


def main():
    case, mpiexec, program = sys.argv[1:]
    culprit, expected, unexpected, succeeds = CASES[case]
    tests = ["PassesBefore"] + ([culprit] if culprit else []) + ["PassesLater"]
    command = [mpiexec, "-n", "3", "--bind-to", "none", program,
               "--gtest_filter=" + ":".join("Selftest." + test for test in tests)]
    began = time.monotonic()
    # Far above the deadline of the program, so that a loaded machine does not fail the check, and far below a hang.
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                          env=dict(os.environ, SETRL_TEST_DEADLINE_S=str(DEADLINE_S)), check=False)
    print(done.stdout)
    print(f"exit code {done.returncode} after {time.monotonic() - began:.1f} s")
    problems = [f"missing: {text}" for text in expected if text not in done.stdout]
    problems += [f"unexpected: {text}" for text in unexpected if text in done.stdout]
    if (done.returncode == 0) != succeeds:
        problems.append(f"exit code {done.returncode}")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
