"""End-to-end tests of rollout ranks that hold one model together (rollout.tensor_parallel): texts, weights, evaluations, faults."""
import json
import os
import signal
import subprocess
import time
import unittest

from async_test import AsyncProgram
from program_test import MOVING, WIDE, Program, project_python

# A program for the project's Python: tokens and log-probabilities of the file's completions, by group and sample.
READ = """
import h5py, json, sys
with h5py.File(sys.argv[1]) as f:
    offsets = f['completion_offsets'][:]
    rows = zip(f['completions/group_index'][:], f['completions/sample_index'][:], offsets, offsets[1:])
    print(json.dumps(sorted([int(g), int(s), f['tokens'][a:b].tolist(), f['logprobs'][a:b].tolist()] for g, s, a, b in rows)))
"""


def split(learner, rollout, parts):
    """The options, and the number of ranks, of a run with one verifier."""
    options = [f"--topology.learner={learner}", f"--topology.rollout={rollout}", "--topology.verifier=1", f"--rollout.tensor_parallel={parts}"]
    return options, learner + rollout + 1


class Replicas(Program):
    SHAPE = WIDE
    OPTIONS = ["--run.threads=1", "--learn.schedule=constant", "--learn.warmup_fraction=0", *MOVING]

    def run_split(self, name, learner, rollout, parts, *options, steps=4):
        counts, ranks = split(learner, rollout, parts)
        return self.train(name, f"--run.steps={steps}", *self.OPTIONS, *counts, *options, ranks=ranks)

    def completions(self, path):
        python = project_python("h5py")
        if python is None:
            self.skipTest("NOT TESTED: no Python with h5py; run launch/setup.sh or set SETRL_PYTHON")
        return json.loads(subprocess.run([python, "-c", READ, self.path(path)], capture_output=True, text=True, check=True).stdout)

    def expect_close(self, path, other):
        """The same texts, with log-probabilities that differ by rounding. (They do differ: the work was divided.)"""
        pairs = list(zip(self.completions(path), self.completions(other)))
        self.assertGreater(len(pairs), 5)
        gaps = []
        for (group, sample, tokens, logprobs), (*key, other_tokens, other_logprobs) in pairs:
            self.assertEqual([group, sample], key)
            self.assertEqual(tokens, other_tokens)
            gaps += [abs(a - b) for a, b in zip(logprobs, other_logprobs)]
        self.assertLess(max(gaps), 1e-4)
        self.assertGreater(max(gaps), 0)

    def test_two_ranks_write_what_one_does_and_get_its_weights(self):
        self.run_split("one", 1, 1, 1)
        self.run_split("two", 1, 2, 2)
        self.expect_close("one/trajectories/step-000001.h5", "two/trajectories/step-000001.h5")
        one, two = self.metrics("one"), self.metrics("two")
        self.assertEqual(len(two), 4)
        for key in ("reward_mean", "reward_std", "format_rate", "tokens_per_completion"):
            self.assertEqual(two[0][key], one[0][key], key)
        # Learners compute with a whole model: a part with older weights, or with another's, would be far from it.
        self.assertLess(max(line["logprob_gap_max"] for line in two), 1e-4)
        self.assertGreater(two[-1]["grad_norm"], 1e-3)
        self.assertNotEqual(self.completions("two/trajectories/step-000001.h5"), self.completions("two/trajectories/step-000002.h5"))

    def test_the_number_of_replicas_and_a_pause_change_nothing(self):
        options = ["--eval.every=2", "--eval.problems=5", "--store.every=2"]
        self.run_split("one", 1, 2, 2, *options)
        self.run_split("two", 1, 4, 2, *options)
        self.run_split("cut", 1, 4, 2, *options, steps=2)
        self.run_split("cut", 1, 2, 2, *options, "--run.resume=auto")
        for name in ("two", "cut"):
            self.assertEqual(self.metrics(name), self.metrics("one"))
            self.assertEqual(self.weights(name), self.weights("one"))
            for step in (0, 2, 4):
                self.assertEqual(self.completions(f"{name}/eval-{step:06}.h5"), self.completions(f"one/eval-{step:06}.h5"))
        # Two learners sum in another order.
        self.run_split("learners", 2, 4, 2, steps=3)
        self.assertLess(max(line["logprob_gap_max"] for line in self.metrics("learners")), 1e-4)
        self.assertIn("2 replicas of 2 ranks", self.call("train", "--dry-run", *split(2, 4, 2)[0], ranks=7))
        with open(self.path("two/logs/rank-0004.log")) as file:
            self.assertIn("rollout replica 2 of 2: part 2 of 2; its lead is rank 3", file.read())

    def test_evaluations_of_files(self):
        evaluate = ["--eval.problems=6", "--eval.samples=2", "--rollout.max_new_tokens=24", "--rollout.max_batch=4", "--run.threads=1"]
        for name, parts, ranks in (("one", 1, 1), ("two", 2, 2), ("four", 2, 4)):
            self.call("eval", f"--run.dir={self.path(name)}", f"--rollout.tensor_parallel={parts}", *evaluate, ranks=ranks)
        self.assertEqual(self.completions("two/eval.h5"), self.completions("four/eval.h5"))
        self.expect_close("one/eval.h5", "two/eval.h5")

    def test_numbers_that_do_not_fit_are_refused_by_name(self):
        out = f"--run.dir={self.path('x')}"
        for ranks, options, reason in ((2, ["--rollout.tensor_parallel=2"], "start at least 4 ranks"),
                                       (5, split(1, 3, 2)[0], "3 rollout ranks are no multiple"),
                                       (6, split(1, 4, 4)[0], "does not divide this model: 4 heads, 2 key/value heads")):
            error = self.one_line("train", out, *options, ranks=ranks)
            self.assertIn("rollout.tensor_parallel", error)
            self.assertIn(reason, error)
        self.assertIn("3 rollout ranks are no multiple of rollout.tensor_parallel = 2", self.one_line("eval", out, "--rollout.tensor_parallel=2", ranks=3))
        self.assertFalse(os.path.exists(self.path("x")))


class Faults(AsyncProgram):
    """Asynchronous training with replicas, and the end of runs whose followers fail."""
    SHAPE = WIDE
    SPLIT, RANKS = split(1, 4, 2)
    FOLLOWER = 2  # of the first replica

    def test_asynchronous_training_is_bounded_and_stops_on_a_signal(self):
        self.run_async("run", 1, steps=5, ranks=self.RANKS)
        self.expect_bounded("run", 1, 5)
        self.assertLess(self.metrics("run")[0]["logprob_gap_max"], 1e-4)
        process, _ = self.begin("stopped", 1)
        process.send_signal(signal.SIGUSR2)
        self.finish(process, 75)
        done = len(self.metrics("stopped"))
        self.assertTrue(os.path.exists(self.path(f"stopped/checkpoints/step-{done:06}/DONE")))

    def expect_gone(self, ranks):
        begun = time.monotonic()
        while any(os.path.exists(f"/proc/{pid}") for pid in ranks):
            self.assertLess(time.monotonic() - begun, 20, "processes are left")
            time.sleep(0.05)

    def test_a_follower_that_dies_or_hangs_ends_the_run(self):
        for staleness in (0, 1):
            process, ranks = self.begin(f"dead{staleness}", staleness)
            os.kill(ranks[self.FOLLOWER], signal.SIGKILL)
            process.communicate(timeout=120)
            self.assertNotIn(process.returncode, (0, 2, 75))
            self.expect_gone(ranks)
        process, ranks = self.begin("hangs", 1, "--run.deadline_s=4")
        os.kill(ranks[self.FOLLOWER], signal.SIGSTOP)
        self.assertIn("waited longer than 4 s", self.finish(process, 3))
        self.expect_gone(ranks)


if __name__ == "__main__":
    unittest.main()
