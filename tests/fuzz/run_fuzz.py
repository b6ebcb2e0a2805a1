#!/usr/bin/env python3
"""Fuzzes the parser, the grader and the score with libFuzzer.

  run_fuzz.py [--seconds 600] [--corpus DIR] [--clang clang++-14]

Needs clang and its runtime library (Debian: clang-14, libclang-rt-14-dev), fmt and utf8proc. Builds the target with the
address and undefined-behaviour sanitizers into a temporary folder, fuzzes, and merges what covers new code into the
corpus. Exits with libFuzzer's code: not 0 where a promise broke, an input crashed, or one took longer than ten seconds.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOURCES = ["base/error", "base/random", "text/answer_grammar", "text/normalise", "text/unicode", "verify/reward_terms",
           "verify/score", "verify/set_grader"]
SANITIZE = "-fsanitize=fuzzer,address,undefined"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=pathlib.Path, default=HERE / "corpus")
    parser.add_argument("--clang", default="clang++-14")
    arguments = parser.parse_args()
    if shutil.which(arguments.clang) is None:
        sys.exit(f"{arguments.clang} is not installed (Debian: apt-get install clang-14 libclang-rt-14-dev)")
    with tempfile.TemporaryDirectory(prefix="setrl-fuzz-") as folder:
        program, found = pathlib.Path(folder) / "answer_set_fuzz", pathlib.Path(folder) / "found"
        found.mkdir()
        subprocess.run([arguments.clang, "-std=c++17", "-O1", "-g", SANITIZE, "-fno-sanitize-recover=undefined", "-I", ROOT / "src",
                        HERE / "answer_set_fuzz.cpp", *(ROOT / "src" / f"{name}.cpp" for name in SOURCES),
                        "-lfmt", "-lutf8proc", "-o", program], check=True)
        for path in arguments.corpus.iterdir():
            shutil.copy(path, found)
        common = ["-max_len=4096", "-timeout=10", f"-dict={HERE / 'answer_set.dict'}", f"-artifact_prefix={HERE}/"]
        code = subprocess.run([program, f"-max_total_time={arguments.seconds}", "-print_final_stats=1", *common, found]).returncode
        # Small files first: a kept corpus of what is needed to cover the code.
        subprocess.run([program, "-merge=1", "-use_counters=0", "-max_len=512", *common[1:], arguments.corpus, found], check=code == 0)
    return code


if __name__ == "__main__":
    sys.exit(main())
