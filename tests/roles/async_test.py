"""End-to-end tests of asynchronous training (rollout.max_staleness): bounds, slow and dead ranks, kills, evaluations."""
import glob
import json
import os
import signal
import subprocess
import time
import unittest

from program_test import MOVING, WIDE, Program, project_python

# A program for the project's Python: of each trajectory part the problems, with their steps, and the versions of tokens.
READ = """
import glob, h5py, json, sys
steps = {}
for path in sorted(glob.glob(sys.argv[1] + '/trajectories/step-*.h5')):
    with h5py.File(path) as f:
        step = steps.setdefault(int(f.attrs['step']), {'problems': [], 'oldest': [], 'newest': []})
        assert f.attrs['policy_version'] == f.attrs['step'] - 1 and (f['groups/step'][:] == f.attrs['step']).all()
        step['problems'] += list(f['groups/problem_id'].asstr()[:])
        for name in ('oldest', 'newest'):
            step[name] += [int(v) for v in f['completions/' + name + '_version'][:]]
print(json.dumps(steps))
"""


# The same of groups, one by one: of trajectory parts and of a checkpoint's groups in flight.
READ_GROUPS = """
import h5py, json, sys
groups = []
for path in sys.argv[1:]:
    with h5py.File(path) as f:
        rows = {name: f['completions/' + name][:].tolist() for name in ('oldest_version', 'newest_version', 'reward', 'finish')}
        whole = f['completions/finished'][:].tolist() if 'completions/finished' in f else None
        graded = f['groups/graded'][:].tolist() if 'groups/graded' in f else None
        tokens, logprobs, offsets, members = f['tokens'][:].tolist(), f['logprobs'][:].tolist(), f['completion_offsets'][:], f['group_offsets'][:]
        for n, (step, index, problem) in enumerate(zip(f['groups/step'][:], f['groups/index'][:], f['groups/problem_id'].asstr()[:])):
            completions = [dict({name: column[c] for name, column in rows.items()}, whole=not whole or bool(whole[c]),
                                tokens=tokens[offsets[c]:offsets[c + 1]], logprobs=logprobs[offsets[c]:offsets[c + 1]])
                           for c in range(members[n], members[n + 1])]
            groups.append({'place': [int(step), int(index)], 'problem': problem, 'graded': not graded or bool(graded[n]), 'completions': completions})
print(json.dumps(groups))
"""


class AsyncProgram(Program):
    SPLIT = ["--topology.rollout=2", "--topology.verifier=1", "--topology.learner=1"]
    RANKS = 4

    def options(self, staleness, steps=6, batch=8):
        # Small batches: a rank has room for two of a step's four groups, so that there is something to steal.
        return [f"--rollout.max_staleness={staleness}", f"--run.steps={steps}", "--run.threads=1", "--task.prompts_per_step=4", f"--rollout.max_batch={batch}",
                "--learn.mismatch=truncate", "--learn.schedule=constant", "--learn.warmup_fraction=0", *MOVING]

    def run_async(self, name, staleness, *options, steps=6, batch=8, ranks=RANKS, split=None, **keywords):
        return self.train(name, *self.options(staleness, steps, batch), *(self.SPLIT if split is None else split), *options, ranks=ranks, **keywords)

    def trajectories(self, name):
        """Steps with sorted problems and versions; None where there is no Python that reads them."""
        python = project_python("h5py")
        if python is None:
            return None
        out = subprocess.run([python, "-c", READ, self.path(name)], capture_output=True, text=True, check=True).stdout
        return {int(step): dict(rows, problems=sorted(rows["problems"])) for step, rows in json.loads(out).items()}

    def expect_bounded(self, name, staleness, steps, reference=None, learners=1):
        """All steps are there, no token is too old, and the run trained what its trajectories hold, once."""
        lines = self.metrics(name)
        self.assertEqual([line["step"] for line in lines], list(range(1, steps + 1)))
        self.assertLessEqual(max(line["staleness"] for line in lines), staleness)
        self.assertGreater(lines[-1]["grad_norm"], 0)
        stored = self.trajectories(name)
        if stored is not None:
            self.assertEqual(sorted(stored), list(range(1, steps + 1)))
            for step, rows in stored.items():
                self.assertEqual(len(rows["problems"]), 4)
                self.assertGreaterEqual(min(rows["oldest"]), max(0, step - 1 - staleness))
                self.assertLessEqual(max(rows["newest"]), step - 1)
                self.assertEqual(lines[step - 1]["staleness"], step - 1 - min(rows["oldest"]))
                if reference is not None:
                    self.assertEqual(rows["problems"], reference[step]["problems"])
        self.train("replayed-" + name, *self.options(staleness, steps), f"--learn.replay={self.path(name)}", ranks=learners)
        self.assertEqual(self.weights("replayed-" + name), self.weights(name))
        for live, replayed in zip(lines, self.metrics("replayed-" + name)):
            self.assertEqual(live, replayed)

    def begin(self, name, staleness, *options, steps=500, **keywords):
        """Starts a run and waits for its first step; returns the process and the ids of its ranks, in their order."""
        process = self.start("train", f"--run.dir={self.path(name)}", "--rollout.max_new_tokens=24", *self.options(staleness, steps), *self.SPLIT,
                             *options, ranks=self.RANKS, **keywords)
        self.await_steps(process, name, 1)
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            return process, [int(word) for word in file.read().split()]

    def await_steps(self, process, name, count):
        lines = self.path(name + "/metrics.jsonl")
        begun = time.monotonic()
        while process.poll() is None:
            if os.path.exists(lines):
                with open(lines) as file:
                    if len(file.readlines()) >= count:
                        return
            time.sleep(0.005)
            self.assertLess(time.monotonic() - begun, 120)

    def finish(self, process, code):
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, code, out + err)
        return out + err


class Bounds(AsyncProgram):
    def test_with_none_allowed_every_split_and_stealing_give_the_same_bytes(self):
        options = ["--eval.every=2", "--eval.problems=5"]
        self.run_async("one", 0, *options, steps=3, ranks=1, split=[])
        self.assertGreater(self.metrics("one")[-1]["grad_norm"], 0)
        self.run_async("many", 0, *options, steps=3, batch=4, ranks=6,
                       split=["--topology.rollout=3", "--topology.verifier=2", "--topology.learner=1"])
        # One process generates and learns in turn: it has no use for staleness, and says so.
        self.assertIn("has no effect in one process", self.run_async("ahead", 2, *options, steps=3, ranks=1, split=[]))
        for name in ("many", "ahead"):
            self.assertEqual(self.metrics(name), self.metrics("one"))
            self.assertEqual(self.weights(name), self.weights("one"))
            for step in (0, 2, 3):
                with open(self.path(f"one/eval-{step:06}.json")) as a, open(self.path(f"{name}/eval-{step:06}.json")) as b:
                    self.assertEqual(json.load(a)["metrics"], json.load(b)["metrics"])

    def test_every_problem_is_trained_once_and_no_token_is_too_old(self):
        self.run_async("sync", 0, steps=5)
        reference = self.trajectories("sync")
        self.run_async("async1", 1, steps=5)
        self.expect_bounded("async1", 1, 5, reference)
        self.run_async("async2", 2, steps=5, ranks=6, split=["--topology.rollout=2", "--topology.verifier=2", "--topology.learner=2"])
        self.expect_bounded("async2", 2, 5, reference, learners=2)
        for name in ("async1", "async2"):
            self.assertIn("clean", self.call("check", self.path(name)))
        # Not by never being ahead. (How far is a matter of speed.)
        self.assertGreater(max(line["staleness"] for name in ("async1", "async2") for line in self.metrics(name)), 0)

    def test_two_ranks(self):
        self.run_async("two", 1, steps=3, ranks=2, split=[])
        self.expect_bounded("two", 1, 3)

    def test_rounds_that_replace_groups_without_signal(self):
        # A random model's groups never have one: every round of every step is asked for.
        self.run_async("run", 2, "--rollout.replacement_rounds=2", steps=2)
        for step in (1, 2):
            self.assertIn("12 problems, 48 completions", self.call("inspect", self.path(f"run/trajectories/step-{step:06}.h5")))
        self.run_async("sync", 0, "--rollout.replacement_rounds=2", steps=2)
        live, sync = self.trajectories("run"), self.trajectories("sync")
        if live is not None:
            self.assertEqual({s: r["problems"] for s, r in live.items()}, {s: r["problems"] for s, r in sync.items()})

    def test_an_evaluation_is_by_the_weights_of_its_step(self):
        evaluate = ["--eval.problems=12", "--eval.samples=2"]
        self.run_async("run", 2, "--eval.every=2", "--store.every=2", "--store.keep=9", *evaluate, steps=4)
        for step in (2, 4):
            self.call("eval", f"--model.path={self.path(f'run/checkpoints/step-{step:06}')}", f"--run.dir={self.path(f'eval{step}')}",
                      "--rollout.max_new_tokens=24", *evaluate)
            with open(self.path(f"run/eval-{step:06}.json")) as inside, open(self.path(f"eval{step}/eval.json")) as alone:
                self.assertEqual(json.load(inside)["metrics"], json.load(alone)["metrics"])


class Faults(AsyncProgram):
    def test_a_slow_rollout_rank_holds_nobody_up_for_ever(self):
        process, ranks = self.begin("run", 1, steps=12)
        for _ in range(2):  # rank 2 is the second rollout rank
            os.kill(ranks[2], signal.SIGSTOP)
            time.sleep(0.4)
            os.kill(ranks[2], signal.SIGCONT)
            time.sleep(0.05)
        self.finish(process, 0)
        self.expect_bounded("run", 1, 12)
        with open(self.path("run/metrics.jsonl")) as file:
            lines = [json.loads(line) for line in file]
        self.assertTrue(all(line["straggler_rank"] in (1, 2) and line["straggler_lag_s"] >= 0 for line in lines))
        self.assertTrue(all(0 <= line["straggler_idle"] <= 1 and 0 <= line["rollout_idle"] <= 1 for line in lines))
        self.assertTrue(all(1 <= line["straggler_tokens"] <= 24 for line in lines))
        with open(self.path("run/logs/rank-0000.log")) as file:
            self.assertEqual(file.read().count("was the last to finish"), 12)

    def test_a_rank_that_dies_or_hangs_ends_the_run(self):
        process, ranks = self.begin("dead", 2)
        os.kill(ranks[1], signal.SIGKILL)
        process.communicate(timeout=120)
        self.assertNotIn(process.returncode, (0, 2, 75))
        process, ranks = self.begin("hangs", 2, "--run.deadline_s=2")
        os.kill(ranks[2], signal.SIGSTOP)
        out = self.finish(process, 3)
        self.assertIn("waited longer than 2 s", out)

    def test_killed_and_stopped_runs_go_on(self):
        process, ranks = self.begin("run", 2, "--store.every=1")
        self.await_steps(process, "run", 3)
        for pid in [*ranks, process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.communicate()
        process, _ = self.begin("run", 2, "--store.every=1", "--run.resume=auto")
        self.await_steps(process, "run", len(self.metrics("run")) + 2)
        process.send_signal(signal.SIGUSR2)
        self.finish(process, 75)
        done = len(self.metrics("run"))
        self.assertTrue(os.path.exists(self.path(f"run/checkpoints/step-{done:06}/DONE")))
        self.run_async("run", 2, "--store.every=1", "--run.resume=auto", steps=done + 3)
        self.expect_bounded("run", 2, done + 3)
        self.assertIn("clean", self.call("check", self.path("run")))


class InFlight(AsyncProgram):
    """Groups of later steps that a checkpoint takes along: a continuation trains them, not others in their place."""

    SHAPE = WIDE
    SPLITS = [(4, 2, 1, 1), (5, 2, 2, 1), (4, 2, 1, 2), (3, 1, 1, 1)]  # ranks; those that generate, verify, hold one model together

    def split(self, number):
        ranks, rollout, verifier, parts = self.SPLITS[number % len(self.SPLITS)]
        return ranks, [f"--topology.rollout={rollout}", f"--topology.verifier={verifier}", "--topology.learner=1", f"--rollout.tensor_parallel={parts}"]

    def read(self, paths):
        """Groups by (step, index), each in one file only; None where there is no Python that reads them."""
        python = project_python("h5py")
        if python is None:
            return None
        out = subprocess.run([python, "-c", READ_GROUPS, *paths], capture_output=True, text=True, check=True).stdout
        groups = json.loads(out)
        by_place = {tuple(group["place"]): group for group in groups}
        self.assertEqual(len(by_place), len(groups))
        return by_place

    def newest(self, name):
        done = glob.glob(self.path(name + "/checkpoints/step-??????/DONE"))
        return max(os.path.dirname(path) for path in done)

    def interrupt(self, name, number, kill, *options):
        """Begins or continues the run, ends it some steps later; returns the newest checkpoint's step and its groups in flight."""
        ranks, split = self.split(number)
        before = len(self.metrics(name)) if os.path.exists(self.path(name)) else 0
        process = self.start("train", f"--run.dir={self.path(name)}", "--rollout.max_new_tokens=24", "--run.resume=auto", "--store.every=1",
                             *self.options(2, 500), *split, *options, ranks=ranks)
        self.await_steps(process, name, before + 2)
        if kill:
            with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
                children = [int(word) for word in file.read().split()]
            for pid in [*children, process.pid]:
                os.kill(pid, signal.SIGKILL)
            process.communicate()
        else:
            process.send_signal(signal.SIGUSR2)
            self.finish(process, 75)
        folder = self.newest(name)
        return int(folder[-6:]), self.read(glob.glob(folder + "/in-flight-*.h5"))

    def expect_continued(self, begun, trained):
        """What was written before is the beginning of what was trained."""
        self.assertEqual(begun["problem"], trained["problem"])
        self.assertEqual(len(begun["completions"]), len(trained["completions"]))
        for old, new in zip(begun["completions"], trained["completions"]):
            count = len(old["tokens"])
            self.assertGreater(count, 0)
            self.assertEqual((old["tokens"], old["logprobs"], old["oldest_version"]), (new["tokens"][:count], new["logprobs"][:count], new["oldest_version"]))
            if old["whole"]:
                self.assertEqual((count, old["newest_version"], old["finish"]), (len(new["tokens"]), new["newest_version"], new["finish"]))
            else:
                self.assertGreater(len(new["tokens"]), count)
            if begun["graded"]:
                self.assertEqual(old["reward"], new["reward"])

    def test_what_was_in_flight_is_trained(self):
        saved, seen = [], {"graded": 0, "begun": 0}
        for number in range(8):
            done, groups = self.interrupt("run", number, kill=number % 2 == 1)
            if groups is None:
                self.skipTest("NOT TESTED: groups in flight (no Python with h5py; run launch/setup.sh)")
            for (step, _), group in groups.items():
                self.assertGreater(step, done)
                for completion in group["completions"]:
                    self.assertGreaterEqual(completion["oldest_version"], step - 1 - 2)
                    self.assertLessEqual(completion["newest_version"], done)
                seen["graded"] += group["graded"]
                seen["begun"] += not all(completion["whole"] for completion in group["completions"])
            saved.append(groups)
            if number >= 3 and min(seen.values()) > 0:
                break
        self.assertGreater(min(seen.values()), 0, seen)
        steps = done + 3
        ranks, split = self.split(1)
        self.run_async("run", 2, "--store.every=1", "--run.resume=auto", steps=steps, ranks=ranks, split=split)
        trained = self.read(glob.glob(self.path("run/trajectories/step-*.h5")))
        for groups in saved:
            for place, group in groups.items():
                self.expect_continued(group, trained[place])
        self.run_async("sync", 0, steps=steps)
        self.expect_bounded("run", 2, steps, self.trajectories("sync"))
        self.assertIn("clean", self.call("check", self.path("run")))

    def test_a_damaged_file_is_found_and_leads_to_the_checkpoint_before(self):
        done, _ = self.interrupt("run", 0, False, "--store.keep=9")
        files = glob.glob(self.newest("run") + "/in-flight-*.h5")
        self.assertTrue(files)
        with open(files[0], "r+b") as file:
            file.seek(1000)
            byte = file.read(1)[0]
            file.seek(1000)
            file.write(bytes([byte ^ 4]))
        self.assertIn(files[0], self.call("check", self.path("run"), code=2))
        ranks, split = self.split(0)
        out = self.run_async("run", 2, "--store.every=1", "--store.keep=9", "--run.resume=auto", steps=done + 2, ranks=ranks, split=split)
        self.assertIn("passed over", out)
        self.assertTrue(os.path.exists(self.path(f"run/checkpoints/step-{done:06}.damaged")))
        self.expect_bounded("run", 2, done + 2)

    def test_a_run_that_takes_turns_takes_only_what_is_on_policy(self):
        done, groups = self.interrupt("run", 0, False)
        # One process: nothing may be older than the weights, nothing is in flight at its checkpoints.
        self.run_async("run", 2, "--store.every=1", "--run.resume=auto", steps=done + 3, ranks=1, split=[])
        self.assertEqual([line["staleness"] for line in self.metrics("run")[done:]], [0, 0, 0])
        self.assertFalse(glob.glob(self.newest("run") + "/in-flight-*.h5"))


if __name__ == "__main__":
    unittest.main()
