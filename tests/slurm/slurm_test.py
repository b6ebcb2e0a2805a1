"""The job scripts of slurm/ on a real SLURM that the test starts: demo, three components, signals, requeue, failures."""
import glob
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

import cluster

SOURCE = os.environ["SETRL_SOURCE_DIR"]
BUILD = os.environ["SETRL_BINARY_DIR"]
SETRL = os.path.join(BUILD, "setrl")
REASON = cluster.why_not()
FOUR = {"main": [(f"n{i}", 0) for i in range(1, 5)]}
SHAPE = ("--model.random_hidden=64", "--model.random_layers=2")
TINY = ("--run.threads=1", "--rollout.max_new_tokens=24", "--store.every=2", *SHAPE)


def script(name):
    return os.path.join(SOURCE, "slurm", name)


class OnCluster(unittest.TestCase):
    """One cluster a class."""

    PARTITIONS = FOUR
    CPUS = 4

    @classmethod
    def setUpClass(cls):
        if REASON:
            print(f"SKIPPED: no SLURM cluster can be started: {REASON}", file=sys.stderr)
            raise unittest.SkipTest(REASON)
        cls.cluster = cluster.Cluster(cls.PARTITIONS, cls.CPUS)
        cls.addClassCleanup(cls.cluster.stop)
        cls.prepare()
        cls.cluster.start()
        cls.cluster.environment.update(SETRL_BUILD=BUILD, SETRL_ROOT=SOURCE, OMP_NUM_THREADS="1")

    @classmethod
    def prepare(cls):
        """What must be there before the nodes start."""

    def path(self, *parts):
        return self.cluster.path(*parts)

    def submit(self, name, *options, sbatch=(), run_dir=None, **variables):
        # A short name: the run directory and the output are called after it.
        self.label = f"{self._testMethodName[5:25]}-{time.monotonic_ns() % 100000}"
        self.run_dir = run_dir or self.path("run-" + self.label)
        self.out = self.path("out-" + self.label)
        path = name if os.path.isabs(name) else script(name)
        return self.cluster.submit(f"--output={self.out}", *sbatch, path, f"--run.dir={self.run_dir}", *options, **variables)

    def output(self):
        if not os.path.exists(self.out):
            return ""
        with open(self.out, errors="replace") as file:
            return file.read()

    def finish(self, job, *states, seconds=120):
        try:
            self.cluster.wait(job, *states, seconds=seconds)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n--- output\n{self.output()[-4000:]}") from None

    def metrics(self, folder=None):
        path = os.path.join(folder or self.run_dir, "metrics.jsonl")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            return [json.loads(line) for line in file.read().splitlines() if line.endswith("}")]

    def until(self, condition, what, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, f"{what}\n--- output\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def step_reached(self, step):
        return os.path.exists(os.path.join(self.run_dir, f"checkpoints/step-{step:06}/DONE"))

    def weights(self, folder):
        out = folder + "-export"
        subprocess.run([SETRL, "export", folder, f"--output={out}"], check=True, capture_output=True)
        with open(os.path.join(out, "model.safetensors"), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def uninterrupted(self, *options, ranks):
        """The same run under plain mpirun."""
        folder = self.path(f"whole-{self._testMethodName[5:25]}")
        result = subprocess.run([os.path.join(SOURCE, "launch/mpirun.sh"), "-n", str(ranks), "train", "--config",
                                 os.path.join(SOURCE, "configs/demo_tiny.cfg"), f"--run.dir={folder}", *options],
                                env=dict(self.cluster.environment), capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertTrue(glob.glob(folder + "/logs/environment-*.txt"))
        return folder

    def same_run(self, folder):
        """Weights byte for byte, and every number of metrics.jsonl that is no timing."""
        self.assertEqual(self.weights(self.run_dir), self.weights(folder))
        keys = ("step", "reward_mean", "loss", "grad_norm", "entropy", "logprob_gap_max", "tokens_per_completion")
        self.assertTrue(any(line["grad_norm"] > 0 for line in self.metrics()), "nothing was learned: the comparison is empty")
        self.assertEqual([[line[k] for k in keys] for line in self.metrics()], [[line[k] for k in keys] for line in self.metrics(folder)])

    def ranks(self):
        """Process ids of this run's ranks on all nodes: this machine sees into their namespaces."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.path.samefile(f"/proc/{entry}/exe", SETRL):
                    with open(f"/proc/{entry}/cmdline") as file:
                        if f"--run.dir={self.run_dir}" in file.read().split("\0"):
                            found.append(int(entry))
            except (OSError, UnicodeDecodeError):
                continue  # ended meanwhile
        return found

    def hold(self, number):
        for rank in self.ranks():
            os.kill(rank, number)

    def hold_ranks(self):
        """Stops the ranks in mid-run: so the time limit finds a run that is not done, however fast it is."""
        self.until(lambda: self.step_reached(4), "no checkpoint")
        self.hold(signal.SIGSTOP)
        self.addCleanup(self.hold, signal.SIGCONT)

    def hold_until_told(self):
        self.hold_ranks()
        self.until(lambda: "telling the ranks to save" in self.output(), "not told")
        self.hold(signal.SIGCONT)

    def saved_and_went_on(self):
        out = self.output()
        self.assertIn("telling the ranks to save", out)
        self.assertRegex(out, r"requeueing from step \d+")
        self.assertIn("start 2", out)

    def no_ranks_left(self):
        self.until(lambda: not self.ranks(), "ranks are still running", 20)


class Components(OnCluster):
    """Three nodes with "GPUs", one without, for the 70B job's own script at a smaller size."""
    PARTITIONS = {"gpu": [(f"n{i}", 2) for i in range(1, 4)], "cpu": [("n4", 0)]}

    def submit_three(self, *options, replaced=(), **variables):
        """16 + 8 + 4 nodes become 2 + 1 + 1, with 4 learners, 2 rollout ranks and a verifier."""
        self.label = f"{self._testMethodName[5:25]}-{time.monotonic_ns() % 100000}"
        self.run_dir, self.out = self.path("run-" + self.label), self.path("out-" + self.label)
        with open(script("ddxplus_70b.sh")) as file:
            text = file.read()
        # An option of sbatch's command line would reach the first component only.
        for big, small in (("--nodes=16 --ntasks-per-node=8", "--nodes=2 --ntasks-per-node=2"),
                           ("--nodes=8 --ntasks-per-node=8", "--nodes=1 --ntasks-per-node=2"),
                           ("--nodes=4 --ntasks-per-node=8", "--nodes=1 --ntasks-per-node=1"),
                           ("gpu:8", "gpu:2"), ("--cpus-per-task=12", "--cpus-per-task=1"), ("--cpus-per-task=4", "--cpus-per-task=1"),
                           ("--output=%x-%j.out", f"--output={self.out}"), *replaced):
            self.assertIn(big, text)
            text = text.replace(big, small)
        with open(self.path("scaled.sh"), "w") as file:
            file.write(text)
        return self.cluster.submit(self.path("scaled.sh"), f"--run.dir={self.run_dir}", *options,
                                   SETRL_CONFIG=os.path.join(SOURCE, "configs/demo_tiny.cfg"),
                                   SETRL_MACHINE=os.path.join(SOURCE, "tests/slurm/node.cfg"), **variables)


class Jobs(Components):
    def test_the_demo_runs_on_two_nodes(self):
        job = self.submit("cpu_demo.sh", "--run.steps=3", *TINY)
        self.finish(job, "COMPLETED")
        self.assertEqual([line["step"] for line in self.metrics()], [1, 2, 3])
        self.assertIn("start 1", self.output())
        environment = glob.glob(self.run_dir + "/logs/environment-*.txt")
        self.assertEqual(len(environment), 1)
        with open(environment[0]) as file:
            text = file.read()
        self.assertIn("program   setrl build", text)
        self.assertIn("hosts     n[1-2]", text)
        self.assertRegex(text, r"  SLURM_JOB_ID=\d+")

    def test_three_components_form_one_world(self):
        job = self.submit_three("--run.steps=2", *TINY)
        self.finish(job, "COMPLETED")
        self.assertEqual(len(self.metrics()), 2)
        out = self.output()
        self.assertRegex(out, r"learner +4 +ranks 0-3")
        self.assertRegex(out, r"rollout +2 +ranks 4-5")
        self.assertRegex(out, r"verifier +1 +rank +6")
        self.assertIn("everything fits", out)
        for rank in range(7):
            self.assertTrue(os.path.exists(os.path.join(self.run_dir, f"logs/rank-{rank:04}.log")))

    def test_every_script_is_accepted_as_it_is(self):
        big = cluster.Cluster({"gpu": [(f"g{i}", 8) for i in range(1, 25)], "cpu": [(f"c{i}", 0) for i in range(1, 5)]}, cpus=96)
        self.addCleanup(big.stop)
        big.start()
        scripts = [name for name in sorted(os.listdir(os.path.join(SOURCE, "slurm"))) if name.endswith(".sh")]
        self.assertIn("ddxplus_70b.sh", scripts)
        for name in scripts:
            with open(script(name)) as file:
                if "#SBATCH" not in file.read():
                    continue  # submits others
            self.assertRegex(big.run("sbatch", "--test-only", script(name)), r"to start at", name)


# A random model's sets are all malformed and earn the same. Decay moves its weights off the initial ones, and the pull
# back to those (KL) gives every step a gradient that depends on its texts.
MOVING = ("--store.every=4", "--run.threads=1", "--rollout.max_new_tokens=32", "--learn.weight_decay=0.1",
          "--learn.kl_coefficient=0.1", "--run.steps=80", *SHAPE)


class Requeue(OnCluster):
    def test_time_limit_signal_save_requeue_resume(self):
        # A limit of a minute and a lead of 52 s: told after about eight. The next start knows its steps' times.
        job = self.submit("cpu_demo.sh", *MOVING, sbatch=["--time=1"], SETRL_LEAD="52", SETRL_RANKS="3")
        self.hold_until_told()
        whole = self.uninterrupted(*MOVING, ranks=3)
        self.finish(job, "COMPLETED", seconds=170)
        self.assertGreaterEqual(int(self.cluster.field(job, "Restarts")), 1)
        self.saved_and_went_on()
        self.assertIn("the program ended with code 75", self.output())
        self.same_run(whole)

    def test_ranks_that_do_not_end_are_left_behind(self):
        job = self.submit("cpu_demo.sh", *MOVING, sbatch=["--time=1"], SETRL_LEAD="52", SETRL_RANKS="3")
        self.hold_ranks()
        whole = self.uninterrupted(*MOVING, ranks=3)
        self.finish(job, "COMPLETED", seconds=170)
        self.assertIn("s before the time limit srun has not ended: going on without it", self.output())
        self.assertRegex(self.output(), "continuing from .*/checkpoints/step-")
        self.no_ranks_left()
        self.same_run(whole)

    def test_a_node_dies_and_the_run_goes_on(self):
        job = self.submit("cpu_demo.sh", *MOVING)
        self.until(lambda: self.step_reached(8), "no checkpoint")
        node = self.cluster.run("scontrol", "show", "hostnames", self.cluster.field(job, "NodeList")).split()[-1]
        self.cluster.fail(node)
        self.cluster.recover(node)
        whole = self.uninterrupted(*MOVING, ranks=4)
        self.finish(job, "COMPLETED", seconds=150)
        self.assertEqual(self.cluster.field(job, "Restarts"), "1")
        self.assertRegex(self.output(), "continuing from .*/checkpoints/step-")
        self.same_run(whole)

    def test_a_job_without_progress_is_not_requeued_for_ever(self):
        job = self.submit("cpu_demo.sh", "--run.steps=1000", "--store.every=0", "--run.threads=1", *SHAPE, SETRL_STALLS="1")
        self.until(lambda: self.metrics(), "no step")
        os.kill(self.ranks()[0], signal.SIGKILL)
        self.finish(job, "FAILED", seconds=60)
        self.assertIn("no checkpoint was made in 1 starts (step 0): the job is not requeued", self.output())
        self.assertIn("first cause", self.output())
        self.assertEqual(self.cluster.field(job, "Restarts"), "0")


class RequeueOfThree(Components):
    def test_three_components_stop_requeue_and_go_on_together(self):
        job = self.submit_three(*MOVING, replaced=[("--time=24:00:00", "--time=1")], SETRL_LEAD="52")
        self.hold_until_told()
        whole = self.uninterrupted(*MOVING, "--topology.learner=4", "--topology.rollout=2", "--topology.verifier=1", ranks=7)
        self.finish(job, "COMPLETED", seconds=170)
        self.saved_and_went_on()
        # The srun of several components may stay when all its tasks have ended with 75.
        self.assertRegex(self.output(), "the program ended with code 75|srun has not ended")
        self.same_run(whole)


class Ends(OnCluster):
    @classmethod
    def prepare(cls):
        cls.small = cls.cluster.small_disk(45)

    def test_scancel_ends_it_for_good(self):
        job = self.submit("cpu_demo.sh", "--run.steps=100000", *TINY)
        self.until(lambda: len(self.metrics()) >= 2, "no steps")
        self.cluster.run("scancel", job)
        self.finish(job, "CANCELLED", seconds=40)
        self.no_ranks_left()
        self.assertNotIn("requeueing", self.output())

    def test_a_second_signal_ends_it_at_once(self):
        job = self.submit("cpu_demo.sh", "--run.steps=100000", "--run.threads=1", "--rollout.max_new_tokens=96",
                          "--task.prompts_per_step=64", "--store.every=0")
        self.until(lambda: "step 1/" in self.output(), "no step")
        self.cluster.run("scancel", "--batch", "--signal=USR1", job)
        self.until(lambda: "telling the ranks to save" in self.output(), "not told")
        self.cluster.run("scancel", "--signal=USR2", job)
        self.finish(job, "FAILED", seconds=40)
        self.no_ranks_left()
        self.assertRegex(self.output(), r"the program ended with code (140|143)")
        self.assertNotIn("requeueing", self.output())

    def test_a_full_disk_is_named_and_the_last_checkpoint_kept(self):
        folder = os.path.join(self.small, "run")
        job = self.submit("cpu_demo.sh", "--run.steps=100", *TINY, "--store.keep=100", run_dir=folder, SETRL_STALLS="1")
        self.finish(job, "FAILED", seconds=90)
        self.assertRegex(self.output(), r"(?i)no space left|disk full|is the disk")
        whole = sorted(glob.glob(folder + "/checkpoints/step-*/DONE"))
        self.assertTrue(whole)
        out = self.path("from-full-disk")
        subprocess.run([SETRL, "export", os.path.dirname(whole[-1]), f"--output={out}"], check=True, capture_output=True)

    def test_a_plan_that_does_not_fit_is_refused(self):
        job = self.submit("cpu_demo.sh", "--run.steps=1000", SETRL_MACHINE=os.path.join(SOURCE, "tests/slurm/node.cfg"),
                          SETRL_PLAN="--machine.memory_gb=0.1")
        self.finish(job, "FAILED", seconds=40)
        self.assertEqual(self.cluster.field(job, "ExitCode"), "2:0")
        self.assertIn("the plan does not fit", self.output())
        self.assertIn("start fewer ranks a node", self.output())
        self.assertFalse(os.path.exists(self.run_dir), "the run must not have begun")

    def test_a_folder_that_nodes_do_not_share_is_refused(self):
        # Every node has a /dev/shm of its own.
        job = self.submit("cpu_demo.sh", "--run.steps=1000", run_dir="/dev/shm/setrl-run")
        self.finish(job, "FAILED", seconds=40)
        self.assertRegex(self.output(), r"error: node n\d does not see /dev/shm/setrl-run")


class Study(OnCluster):
    def test_an_array_gives_a_report(self):
        folder = self.path("study")
        text = self.cluster.run(script("scaling_study.sh"), "-k", "weak", "-s", "1 2 3 4", "-p", "3", "-w", "1", folder, "--config",
                                os.path.join(SOURCE, "configs/demo_tiny.cfg"), "--run.steps=3", *TINY)
        jobs = [line.split()[0] for line in text.splitlines() if re.match(r"\d+ ", line)]
        self.assertEqual(len(jobs), 2, text)  # an array of three sizes, and one chained job on two nodes
        for job in jobs:
            self.out = folder
            self.cluster.wait(job, "COMPLETED", seconds=100)
        report = subprocess.run([sys.executable, os.path.join(SOURCE, "tools/scaling_report.py"), folder, "--setrl", SETRL, "--machine",
                                 os.path.join(SOURCE, "tests/slurm/node.cfg"), "--to", "64"], capture_output=True, text=True)
        self.assertEqual(report.returncode, 0, report.stderr)
        rows = [line.split("|") for line in report.stdout.splitlines()[2:]]
        self.assertEqual([row[1].strip() for row in rows], ["1", "2", "3", "4"])
        for row in rows:
            self.assertGreater(float(row[2]), 0)
        with open(os.path.join(folder, "ranks-4/config.cfg")) as file:
            self.assertIn("prompts_per_step = 4", file.read())


if __name__ == "__main__":
    unittest.main()
