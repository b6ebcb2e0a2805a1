"""Runs lifetime_program in one mode and checks how it ends: lifetime_check.py MODE MPIEXEC PROGRAM."""

import os
import subprocess
import sys

# mode -> (ranks or None for no launcher, exit code or None for any but 0, texts that must be there, texts that must not)
CASES = {
    "ends_well": (3, 0, ["received 1048576", "rank 0 of 3 ends", "rank 2 of 3 ends"], []),
    "no_launcher": (None, 0, ["rank 0 of 1 ends"], []),
    "outlives": (2, 0, ["barrier of 'kept' after MPI was finalised", "send to rank 1 of 'kept' after MPI was finalised"],
                 []),
    "unwinds": (2, None, ["unwound: thrown"], ["MPI_Finalize"]),
    "fails": (3, 3, ["rank 1 of 3 on host ", " (learner, step 12) failed: weights are not finite"], ["rank 0 of 3"]),
    "user_error": (3, 2, ["setrl: error: no file named x.csv"], ["on host"]),
    "undelivered": (2, 3, ["delivery of the last sends waited longer than 1 s"], []),
}


def main():
    mode, mpiexec, program = sys.argv[1:]
    ranks, code, expected, unexpected = CASES[mode]
    launcher = [mpiexec, "-n", str(ranks), "--bind-to", "none"] if ranks else []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PMIX")}
    done = subprocess.run(launcher + [program, mode], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=50, env=environment, check=False)
    print(done.stdout)
    problems = [f"missing: {text}" for text in expected if text not in done.stdout]
    problems += [f"unexpected: {text}" for text in unexpected if text in done.stdout]
    if (code is None and done.returncode == 0) or (code is not None and done.returncode != code):
        problems.append(f"exit code {done.returncode}")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
