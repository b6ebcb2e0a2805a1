"""bench_table.py on lines of the program and on such as a GPU would give."""
import json
import os
import re
import subprocess
import sys
import unittest

SETRL = os.path.join(os.environ["SETRL_BINARY_DIR"], "setrl")
TOOL = os.path.join(os.environ["SETRL_SOURCE_DIR"], "tools", "bench_table.py")
TINY = ["--model.path=random", "--model.random_hidden=32", "--model.random_layers=1", "--model.random_vocabulary=320",
        "--model.dtype=float32", "--run.threads=1", "--bench.prompt=8", "--bench.new=4"]


def bench(*arguments):
    done = subprocess.run([SETRL, "bench", *arguments, *TINY], capture_output=True, text=True, timeout=100, check=True)
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


class BenchTable(unittest.TestCase):
    def table(self, *lines):
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        done = subprocess.run([sys.executable, TOOL], input=text, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def expect_columns(self, head, row, shown):
        """Each value begins below its column's head."""
        for name, text in shown.items():
            at = re.search(rf"(?<!\S){name}(?!\S)", head).start()
            self.assertEqual(row[at:].split("  ")[0].strip(), text, f"{name}\n{head}\n{row}")

    def test_lines_of_the_program(self):
        learn, rollout, sync = bench("learn"), bench("rollout", "--bench.batch=2"), bench("sync")
        rows = self.table(rollout, rollout, learn, sync)
        self.assertEqual(len(rows), 7)
        self.assertEqual(rows[1], rows[2])
        self.expect_columns(rows[0], rows[1], {"program": "setrl", "model": "random", "batch": "2", "new": "4", "memory GB/s": "-", "goal": "-"})
        self.expect_columns(rows[3], rows[4], {"ranks": "1", "prompt": "8", "steps": "2", "recompute": "none", "offload": "no", "goal": "-"})
        self.expect_columns(rows[5], rows[6], {"ranks": "1", "tensor par.": "1", "model": "random"})

    def test_goals_are_those_of_our_program_on_gpus(self):
        rollout = dict(bench("rollout", "--bench.batch=2"), device="cuda", memory_gb_per_s=3901.2, decode_tokens_per_s=12345.6)
        peer = {key: value for key, value in rollout.items() if key != "memory_gb_per_s"}
        learn = dict(bench("learn"), device="cuda", device_peak_bytes=123456789012, device_growth_bytes=0, learn_s=123.456)
        rows = self.table({**rollout, "fraction_of_limit": 0.6}, {**rollout, "fraction_of_limit": 0.59},
                          {**peer, "peer": "transformers", "fraction_of_limit": 0.2}, "transformers is not there",
                          {**learn, "fraction_of_limit": 0.44}, {**learn, "fraction_of_limit": 0.5})
        self.expect_columns(rows[0], rows[1], {"memory GB/s": "3901", "of limit": "0.600", "goal": "0.60 met", "decode tok/s": "12345.6"})
        self.expect_columns(rows[0], rows[2], {"goal": "0.60 missed"})
        self.expect_columns(rows[0], rows[3], {"program": "transformers", "memory GB/s": "-", "goal": "-"})
        self.assertEqual(rows[4], "transformers is not there")
        self.expect_columns(rows[5], rows[6], {"MFU": "0.440", "goal": "0.45 missed", "peak GB": "123.46", "growth GB": "0.000"})
        self.expect_columns(rows[5], rows[7], {"goal": "0.45 met", "seconds": "123.456"})


if __name__ == "__main__":
    unittest.main()
