"""End to end: the program with task mbpp, on a small data file of its own."""
import json
import os
import unittest

from program_test import Program, SETRL


def sandbox_works():
    """False where user namespaces are off: the refusal is tested then, the rest skips."""
    import subprocess
    done = subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, check=False)
    return done.returncode == 0


class Programs(Program):
    def setUp(self):
        super().setUp()
        self.assertTrue(os.path.exists(SETRL))
        with open(self.path("mbpp.jsonl"), "w") as file:
            for task_id in [*range(11, 21), *range(601, 641)]:
                row = {"task_id": task_id, "text": f"Write a function to add {task_id}.", "test_setup_code": "",
                       "code": f"def add(x):\r\n    return x + {task_id}",
                       "test_list": [f"assert add({x}) == {x + task_id}" for x in (0, 1, -5)], "challenge_test_list": []}
                file.write(json.dumps(row) + "\n")
        self.task = ["--task.name=mbpp", f"--task.path={self.path('mbpp.jsonl')}", "--task.k=2"]

    def test_without_a_sandbox_the_run_refuses(self):
        out = self.train("run", *self.task, "--verify.sandbox=command", "--verify.command=/bin/false", "--run.steps=1", code=2)
        self.assertIn("verify.sandbox=command does not work here", out)
        self.assertIn("apptainer", out)
        self.assertIn("verify.sandbox=unsafe-none", out)

    @unittest.skipUnless(sandbox_works(), "SKIPPED: bubblewrap does not work here")
    def test_training_runs_and_the_bench_grades(self):
        self.train("run", *self.task, "--run.steps=1", ranks=2)
        line = self.metrics("run")[0]
        self.assertEqual(line["infrastructure_failures"], 0)
        self.assertEqual(line["format_rate"], 0)
        out = self.call("bench", "verify", *self.task, "--model.path=random", "--bench.prompts=4", "--bench.group=4",
                        "--bench.new=24", ranks=3)
        bench = json.loads([each for each in out.splitlines() if each.startswith("{")][-1])
        # Of every four completions one is cut off and one lacks a tag; the other two hold two programs each.
        self.assertEqual(bench["completions"], 16)
        self.assertEqual(bench["graded"], 8)
        self.assertEqual(bench["programs"], 16)
        self.assertEqual(bench["infrastructure_failures"], 0)


if __name__ == "__main__":
    unittest.main()
