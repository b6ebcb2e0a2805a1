"""End-to-end tests of what the store keeps: continuing a run from anywhere, after damage and kills, on a full disk; check,
inspect, export. SETRL_KILL_COUNT: kills of each kind (default 1)."""
import glob
import json
import os
import random
import signal
import subprocess
import time
import unittest

from program_test import MOVING, SOURCE, Program

KILLS = int(os.environ.get("SETRL_KILL_COUNT", "1"))


def interpreter(modules):
    """The project's Python where it has the modules, or None."""
    path = os.environ.get("SETRL_PYTHON") or os.path.join(SOURCE, ".venv/bin/python")
    if os.path.exists(path) and subprocess.run([path, "-c", f"import {modules}"], capture_output=True).returncode == 0:
        return path
    return None


class StoreProgram(Program):
    def flip(self, name, at=None):
        with open(self.path(name), "r+b") as file:
            file.seek(0, os.SEEK_END)
            place = file.tell() // 2 if at is None else at
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 16]))

    def train(self, name, *options, **keywords):
        return super().train(name, *MOVING, *options, **keywords)

    def expect_equal(self, name, other):
        """Metrics and weights, of runs that did learn something."""
        self.assertEqual(self.metrics(name), self.metrics(other))
        self.assertGreater(self.metrics(name)[-1]["grad_norm"], 0)
        self.assertEqual(self.weights(name), self.weights(other))

    def check(self, name, code=0):
        return self.call("check", self.path(name), code=code)

    def fill_a_disk(self, *more, ranks=1):
        disk = self.path("disk")
        os.mkdir(disk)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", disk], capture_output=True).returncode != 0:
            self.skipTest("NOT TESTED: a full disk (no right to mount a tmpfs; run as root)")
        try:
            options = ["--run.steps=6", "--store.every=1", "--store.keep=9", *more]
            out = self.train("disk/run", *options, ranks=ranks, code=2)
            self.assertIn("No space left on device", out)
            self.assertIn("clean", self.check("disk/run"))
            subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
            self.train("disk/run", *options, "--run.resume=auto", ranks=ranks)
            self.train("whole", *options, ranks=ranks)
            self.expect_equal("disk/run", "whole")
        finally:
            subprocess.run(["umount", disk], check=True)


class Continue(StoreProgram):
    def test_from_a_checkpoint_of_another_run(self):
        self.train("whole", "--run.steps=3", "--store.every=1", "--store.keep=9")
        self.train("branch", "--run.steps=3", f"--run.resume={self.path('whole/checkpoints/step-000001')}")
        self.assertEqual(self.metrics("branch"), self.metrics("whole")[1:])
        self.assertEqual(self.weights("branch"), self.weights("whole"))
        # The folder of a run means its newest checkpoint; nothing is left to do, but the new run has its own.
        self.train("copy", "--run.steps=3", f"--run.resume={self.path('whole')}")
        self.assertEqual(self.weights("copy"), self.weights("whole"))
        out = self.train("branch", "--run.steps=3", f"--run.resume={self.path('whole')}", code=2)
        self.assertIn("holds a run already", out)
        # Back to an earlier step of the same run: what followed is written again.
        whole = self.metrics("whole")
        self.train("whole", "--run.steps=3", f"--run.resume={self.path('whole/checkpoints/step-000002')}")
        self.assertEqual(self.metrics("whole"), whole)
        self.check("whole")

    def test_another_model_or_kind_is_refused(self):
        self.train("run", "--run.steps=1")
        out = self.train("run", "--run.steps=2", "--run.resume=auto", "--model.random_hidden=96", code=2)
        self.assertIn("of another model", out)
        self.assertIn("hidden_size: 64 -> 96", out)
        self.call("sft", f"--run.dir={self.path('sft')}", "--sft.cases=16", "--sft.epochs=1")
        out = self.train("sft", "--run.steps=2", "--run.resume=auto", code=2)
        self.assertIn("made by setrl sft", out)
        self.check("sft")

    def test_damage_leads_to_the_checkpoint_before(self):
        options = ["--run.steps=4", "--store.every=1", "--store.keep=3"]
        self.train("whole", *options)
        self.train("run", *options)
        self.flip("run/checkpoints/step-000004/rank-0000.h5")  # found when it is loaded
        self.flip("run/checkpoints/step-000003/index.h5")      # found at a first look
        out = self.train("run", *options, "--run.resume=auto")
        self.assertIn("passed over", out)
        self.assertIn("step-000004", out)
        self.expect_equal("run", "whole")
        self.assertTrue(os.path.exists(self.path("run/checkpoints/step-000004.damaged")))
        self.assertIn("step-000004.damaged", self.check("run", code=2))
        for folder in glob.glob(self.path("run/checkpoints/step-*")):
            self.flip(folder + "/DONE")
        self.assertIn("only damaged checkpoints", self.train("run", *options, "--run.resume=auto", code=2))

    def test_evaluations_are_remembered(self):
        options = ["--store.every=1", "--eval.every=1", "--eval.problems=2"]
        self.train("run", "--run.steps=1", *options)
        first = self.path("run/eval-000001.json")
        before = os.stat(first).st_mtime_ns
        out = self.train("run", "--run.steps=2", "--run.resume=auto", *options)
        self.assertIn("after step 0", out)
        self.assertIn("best by correct_per_set", out)
        self.assertEqual(os.stat(first).st_mtime_ns, before)  # not made again


class Learners(StoreProgram):
    """A cold start, because every rank of it learns, from losses that are not zero."""

    def cold_start(self, name, *options, ranks=1):
        self.call("sft", f"--run.dir={self.path(name)}", "--sft.cases=64", "--sft.epochs=1", "--store.every=2", "--store.keep=9",
                  *options, ranks=ranks)
        return {line["step"]: line["loss"] for line in self.metrics(name)}

    def test_any_number_continues_with_the_same_bits(self):
        python = interpreter("h5py, numpy")
        for before, after in ((1, 4), (4, 1), (3, 2)):
            with self.subTest(before=before, after=after):
                whole, branch, copy = (f"{name}{before}{after}" for name in ("whole", "branch", "copy"))
                losses = self.cold_start(whole, ranks=before)
                self.assertEqual(sorted(losses), [1, 2, 3, 4])
                continued = self.cold_start(branch, f"--run.resume={self.path(whole + '/checkpoints/step-000002')}", ranks=after)
                self.assertEqual(sorted(continued), [3, 4])
                self.assertLess(abs(losses[3] - continued[3]), 1e-6)
                if python is None:
                    self.skipTest("NOT TESTED: equal bits (no Python with h5py; run launch/setup.sh)")
                # Loaded and saved again by the other number of ranks.
                self.cold_start(copy, f"--run.resume={self.path(whole)}", ranks=after)
                program = ("import h5py, sys\n"
                           "a, b = (h5py.File(f'{path}/checkpoints/step-000004/index.h5') for path in sys.argv[1:3])\n"
                           "names = a['info/tensor_names'].asstr()[:]\n"
                           "assert [len(f['info/rank_files']) for f in (a, b)] == [int(n) for n in sys.argv[3:]]\n"
                           "assert list(names) == list(b['info/tensor_names'].asstr()[:])\n"
                           "assert all(a[n][()].tobytes() == b[n][()].tobytes() for n in names)\n"
                           "assert all(a[n][()].any() for n in names if n.startswith('moment2'))\n")
                subprocess.run([python, "-c", program, self.path(whole), self.path(copy), str(before), str(after)], check=True)


class Shared(StoreProgram):
    """store.layout=shared: one file that all learners write together."""

    SPLIT = ["--topology.rollout=1", "--topology.verifier=1", "--topology.learner=2"]

    def setUp(self):
        super().setUp()
        self.offered = os.environ["SETRL_HDF5_IS_PARALLEL"] == "TRUE"
        if not self.offered and "refused" not in self._testMethodName:
            self.skipTest("NOT TESTED: the shared layout (HDF5's parallel build is not installed; run launch/setup.sh)")

    def run_to(self, name, steps, layout, *options):
        self.train(name, f"--run.steps={steps}", f"--store.layout={layout}", "--store.every=1", "--store.keep=9", *self.SPLIT, *options, ranks=4)

    def test_is_read_like_rank_files(self):
        self.run_to("whole", 4, "per_rank")
        self.run_to("run", 2, "shared")
        self.run_to("run", 4, "shared", "--run.resume=auto")
        self.assertEqual(sorted(os.listdir(self.path("run/checkpoints/step-000004"))), ["DONE", "index.h5", "shared.h5"])
        self.assertIn("clean", self.check("run"))
        self.expect_equal("run", "whole")
        # From each layout to the other.
        for name, layout, source in (("apart", "per_rank", "run"), ("together", "shared", "whole")):
            self.run_to(name, 4, layout, f"--run.resume={self.path(source + '/checkpoints/step-000002')}")
            self.assertEqual(self.weights(name), self.weights("whole"))
        # Damage is found, and the checkpoint before is taken.
        self.flip("run/checkpoints/step-000004/shared.h5")
        self.assertIn("shared.h5", self.check("run", code=2))
        self.run_to("run", 4, "shared", "--run.resume=auto")
        self.assertTrue(os.path.exists(self.path("run/checkpoints/step-000004.damaged")))
        self.expect_equal("run", "whole")

    def test_one_process(self):
        self.train("whole", "--run.steps=2", "--store.every=1")
        self.train("run", "--run.steps=1", "--store.layout=shared")
        self.train("run", "--run.steps=2", "--store.layout=shared", "--run.resume=auto")
        self.expect_equal("run", "whole")
        self.assertIn("clean", self.check("run"))

    def test_a_full_disk_ends_the_run_and_more_room_continues_it(self):
        self.fill_a_disk("--store.layout=shared", *self.SPLIT, ranks=4)

    def test_is_refused_with_the_serial_library(self):
        if self.offered:
            self.skipTest("this build has the parallel library")
        self.assertIn("parallel build of HDF5", self.one_line("train", f"--run.dir={self.path('run')}", "--store.layout=shared"))


class Look(StoreProgram):
    def test_check_and_inspect(self):
        self.train("run", "--run.steps=2", "--store.every=1", ranks=3)
        out = self.check("run")
        self.assertIn("checkpoint of step 2", out)
        self.assertIn("trajectories of steps 1, 2", out)
        self.assertIn("clean", out)
        self.check("run/checkpoints/step-000002")
        self.check("run/trajectories/step-000001.h5")
        self.check("run/checkpoints/latest/index.h5")

        rows = self.call("inspect", self.path("run"), "--step=1")
        self.assertIn("bad format", rows)
        self.assertIn("nothing matches", self.call("inspect", self.path("run"), "--step=1", "--outcome=graded"))
        self.assertIn("nothing matches", self.call("inspect", self.path("run"), "--step=1", "--min_correct=1"))
        self.assertIn("nothing matches", self.call("inspect", self.path("run"), "--step=1", "--min_reward=5"))
        texts = self.call("inspect", self.path("run"), "--step=1", "--outcome=bad_format", "--max_correct=0", "--texts=yes", "--limit=1")
        self.assertEqual(texts.count("--- demo/"), 1)
        self.assertIn("malformed:", texts)

        self.flip("run/trajectories/step-000001.h5")
        out = self.check("run", code=2)
        self.assertIn("trajectories/step-000001.h5", out)
        self.assertIn("trajectories of steps 2", out)
        self.flip("run/checkpoints/step-000002/rank-0000.h5")
        out = self.check("run", code=2)
        self.assertIn("rank-0000.h5", out)
        self.assertIn("checkpoint of step 1", out)
        self.assertNotIn("checkpoint of step 2", out)
        self.check("run/checkpoints/latest/rank-0000.h5", code=2)
        self.check("nothing", code=2)

    def test_replay_of_another_split(self):
        ranks, split = 4, ["--topology.rollout=1", "--topology.verifier=2", "--topology.learner=1"]
        self.train("live", "--run.steps=2", *split, ranks=ranks)
        out = self.train("replayed", "--run.steps=2", f"--learn.replay={self.path('live')}")
        self.expect_equal("live", "replayed")
        self.assertNotIn("tok/s", out)  # nothing was generated
        self.check("replayed")

    def test_export_in_several_files(self):
        self.train("run", "--run.steps=1")
        for name, options in (("one", []), ("many", ["--shard_bytes=200000"])):
            self.call("export", self.path("run"), f"--output={self.path(name)}", *options)
        with open(self.path("many/model.safetensors.index.json")) as file:
            index = json.load(file)
        files = sorted(set(index["weight_map"].values()))
        self.assertEqual(files, sorted(os.path.basename(path) for path in glob.glob(self.path("many/*.safetensors"))))
        self.assertGreater(len(files), 2)
        self.assertFalse(os.path.exists(self.path("one/model.safetensors.index.json")))
        # Read back by this program, the same weights in one file again.
        self.call("import", self.path("many"), f"--output={self.path('back')}")
        with open(self.path("one/model.safetensors"), "rb") as a, open(self.path("back/model.safetensors"), "rb") as b:
            self.assertEqual(a.read(), b.read())
        python = interpreter("safetensors, numpy, transformers")
        if python is None:
            self.skipTest("NOT TESTED: transformers reads it (run launch/setup.sh)")
        program = ("import json, sys, os\n"
                   "from safetensors.numpy import load_file\n"
                   "from transformers import AutoConfig, AutoTokenizer, GenerationConfig\n"
                   "one, many = sys.argv[1:]\n"
                   "whole = load_file(one + '/model.safetensors')\n"
                   "index = json.load(open(many + '/model.safetensors.index.json'))\n"
                   "parts = {f: load_file(os.path.join(many, f)) for f in set(index['weight_map'].values())}\n"
                   "assert set(index['weight_map']) == set(whole)\n"
                   "assert sum(len(p) for p in parts.values()) == len(whole)\n"
                   "for name, tensor in whole.items():\n"
                   "    other = parts[index['weight_map'][name]][name]\n"
                   "    assert other.shape == tensor.shape and other.tobytes() == tensor.tobytes(), name\n"
                   "assert index['metadata']['total_size'] == sum(t.nbytes for t in whole.values())\n"
                   "config, tokenizer = AutoConfig.from_pretrained(many), AutoTokenizer.from_pretrained(many)\n"
                   "assert config.hidden_size == whole['model.norm.weight'].shape[0]\n"
                   "text = 'fever and cough'\n"
                   "assert tokenizer.decode(tokenizer.encode(text)) == text\n"
                   "assert GenerationConfig.from_pretrained(many).eos_token_id\n")
        subprocess.run([python, "-c", program, self.path("one"), self.path("many")], check=True, env=dict(os.environ, TRANSFORMERS_VERBOSITY="error"))


class Killed(StoreProgram):
    """SIGKILL at random moments, most of them in the middle of saving, publishing or pruning: every step is saved."""

    PATIENCE_S = 240 + 20 * KILLS

    def life(self, name, options, ranks, kill, rng):
        """Continues the run until a random moment after its first new step. True where it came to its end before."""
        lines = self.path(name + "/metrics.jsonl")
        process = self.start("train", f"--run.dir={self.path(name)}", "--rollout.max_new_tokens=8", "--run.resume=auto", *MOVING, *options, ranks=ranks)
        begun = time.monotonic()
        size = os.path.getsize(lines) if os.path.exists(lines) else 0
        while process.poll() is None and not (os.path.exists(lines) and os.path.getsize(lines) > size):
            time.sleep(0.002)
            # The file is cut at the beginning.
            size = min(size, os.path.getsize(lines)) if os.path.exists(lines) else 0
            self.assertLess(time.monotonic() - begun, 240)
        time.sleep(rng.uniform(0, 0.4))
        try:
            kill(process, rng)
        except ProcessLookupError:
            pass
        out, err = process.communicate(timeout=240)
        if process.returncode == 0:
            return True
        self.assertNotEqual(process.returncode, 2, out + err)
        return False

    @staticmethod
    def children(process):
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            return [int(word) for word in file.read().split()]

    def kill_one_rank(self, process, rng):
        os.kill(rng.choice(self.children(process)), signal.SIGKILL)

    def kill_all_ranks(self, process, rng):
        for pid in [*self.children(process), process.pid]:
            os.kill(pid, signal.SIGKILL)

    def go_through(self, kinds, ranks, split):
        steps = 8 + 4 * KILLS * len(kinds)
        options = [f"--run.steps={steps}", "--store.every=1", *split]
        self.call("train", f"--run.dir={self.path('whole')}", "--rollout.max_new_tokens=8", *MOVING, *options, ranks=ranks)
        rng = random.Random(7)
        killed, leftovers = 0, 0
        ended = False
        for i in range(KILLS * len(kinds)):
            ended = self.life("run", options, ranks, kinds[i % len(kinds)], rng)
            if ended:
                break
            killed += 1
            report = self.check("run")
            leftovers += "left by an interrupted save" in report or "has no DONE" in report
        if not ended:
            self.call("train", f"--run.dir={self.path('run')}", "--rollout.max_new_tokens=8", "--run.resume=auto", *MOVING, *options, ranks=ranks)
        print(f"{killed} kills ({ranks} rank(s), {steps} steps), {leftovers} of them in the middle of a save", flush=True)
        self.assertGreaterEqual(killed, 1)
        self.assertIn("clean", self.check("run"))
        self.expect_equal("run", "whole")

    def test_one_process(self):
        self.go_through([lambda process, rng: process.kill()], 1, [])

    def test_ranks(self):
        self.go_through([self.kill_one_rank, self.kill_all_ranks], 4, ["--topology.rollout=1", "--topology.verifier=1", "--topology.learner=2"])


class Full(StoreProgram):
    def test_a_full_disk_ends_the_run_and_more_room_continues_it(self):
        self.fill_a_disk()


if __name__ == "__main__":
    unittest.main()
