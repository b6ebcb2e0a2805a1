"""launch/ and the program's reports of failures: plain mpirun, binding, the environment's record, handshake, hangs."""
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

SOURCE = os.environ["SETRL_SOURCE_DIR"]
BUILD = os.environ["SETRL_BINARY_DIR"]
SETRL = os.path.join(BUILD, "setrl")
ENVIRONMENT = dict(os.environ, SETRL_BUILD=BUILD, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_btl_vader_single_copy_mechanism="none")
TINY = ("--config", os.path.join(SOURCE, "configs/demo_tiny.cfg"), "--run.threads=1", "--rollout.max_new_tokens=24")


class Launch(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="setrl-launch-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def call(self, *command, code=0, **variables):
        result = subprocess.run(command, env=dict(ENVIRONMENT, **variables), cwd=self.folder, capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, code, f"{command}\n{result.stdout}\n{result.stderr}")
        return result.stdout + result.stderr

    def mpirun(self, *options, **variables):
        return self.call(os.path.join(SOURCE, "launch/mpirun.sh"), *options, **variables)


class Mpirun(Launch):
    def test_a_run_leaves_its_environment(self):
        self.mpirun("-n", "3", "train", *TINY, "--run.steps=1", f"--run.dir={self.path('run')}")
        files = glob.glob(self.path("run/logs/environment-*.txt"))
        self.assertEqual(len(files), 1)
        with open(files[0]) as file:
            text = file.read()
        for part in ("program   setrl build ", "commit    ", "mpi       mpirun", "cpu       "):
            self.assertIn(part, text)
        self.assertNotIn("HOME", text)

    def test_a_host_file_is_used(self):
        with open(self.path("hosts"), "w") as file:
            file.write("# one machine\nlocalhost slots=2\n")
        self.mpirun("-n", "2", "-f", self.path("hosts"), "train", *TINY, "--run.steps=1", f"--run.dir={self.path('run')}")
        with open(self.path("run/metrics.jsonl")) as file:
            self.assertEqual(json.loads(file.readline())["step"], 1)
        self.assertIn("names no host", self.mpirun("-n", "2", "-f", "/dev/null", "train", code=2))

    def test_a_plan_that_does_not_fit_starts_nothing(self):
        out = self.mpirun("-n", "2", "train", *TINY, f"--run.dir={self.path('run')}", code=2,
                          SETRL_MACHINE=os.path.join(SOURCE, "tests/slurm/node.cfg"), SETRL_PLAN="--machine.memory_gb=0.1")
        self.assertIn("DOES NOT FIT", out)
        self.assertFalse(os.path.exists(self.path("run")))

    def test_ranks_get_their_cores(self):
        bind = os.path.join(SOURCE, "launch/bind.sh")
        cores = len(os.sched_getaffinity(0))
        seen = set()
        for rank in range(2):
            out = self.call(bind, "bash", "-c", "taskset -cp $$; echo GPU=${CUDA_VISIBLE_DEVICES-unset}", SETRL_BIND="cores",
                            OMPI_COMM_WORLD_LOCAL_RANK=str(rank), OMPI_COMM_WORLD_LOCAL_SIZE="2", CUDA_VISIBLE_DEVICES="0,1")
            seen.add(out.splitlines()[0].split(": ")[1])
            if not glob.glob("/dev/nvidia[0-9]*"):
                self.assertIn("GPU=unset", out)
        self.assertEqual(len(seen), min(2, cores))
        everything = self.call(bind, "bash", "-c", "nproc", SETRL_BIND="none")
        self.assertEqual(int(everything), cores)


class Checks(Launch):
    def bash(self, text):
        return self.call("bash", "-c", f"source {SOURCE}/launch/common.sh; source {SOURCE}/launch/run_checks.sh; {text}").strip()

    def test_the_lead_follows_from_measured_steps(self):
        self.assertEqual(self.bash("lead_seconds . 120"), "120")
        with open(self.path("metrics.jsonl"), "w") as file:
            for step, save in ((10.5, 0), (20, 0), (12, 4.0)):
                file.write(json.dumps({"step": 1, "step_s": step, "checkpoint_s": save}) + "\n")
        self.assertEqual(self.bash("lead_seconds . 120"), str(2 * 20 + 3 * 4 + 30 + 1))
        self.assertEqual(os.listdir(self.folder), ["metrics.jsonl"])

    def test_the_environment_is_recorded_where_no_variable_is_set(self):
        bare = f"env -i PATH=$PATH SETRL_BUILD={BUILD} bash -c 'source {SOURCE}/launch/common.sh; source {SOURCE}/launch/run_checks.sh; "
        self.bash(bare + "unset SETRL_BUILD; record_environment run here'")
        with open(glob.glob(self.path("run/logs/environment-*.txt"))[0]) as file:
            self.assertTrue(file.read().endswith("variables\nmodules   none\n"))

    def test_the_newest_whole_checkpoint_counts(self):
        self.assertEqual(self.bash("newest_step ."), "0")
        for name in ("step-000008/DONE", "step-000010/DONE", "step-000012.tmp/DONE", "step-000014/index.h5"):
            os.makedirs(self.path("checkpoints", os.path.dirname(name)))
            open(self.path("checkpoints", name), "w").close()
        self.assertEqual(self.bash("newest_step ."), "10")


class Plan(Launch):
    def test_the_table_json_and_check(self):
        machine = "--plan.machine=" + os.path.join(SOURCE, "configs/machines/h100_8x.cfg")
        config = ["--config", os.path.join(SOURCE, "configs/ddxplus_70b.cfg"), "--plan.model=llama3-70b", machine]
        sizes = ["--topology.learner=128", "--topology.rollout=64", "--topology.verifier=32"]
        text = self.call(SETRL, "plan", *config, *sizes)
        for part in ("70.55 billion", "224 ranks", "KV cache", "reduce-scatter", "checkpoint"):
            self.assertIn(part, text)
        document = json.loads(self.call(SETRL, "plan", *config, *sizes, "--json"))
        self.assertEqual(document["parameters"], 70553706496)
        self.assertEqual(document["checkpoint_bytes"], 12 * 70553706496)
        self.assertEqual(document["topology"], {"learner": 128, "rollout": 64, "verifier": 32})
        out = self.call(SETRL, "plan", *config, *sizes, "--check", code=2)
        self.assertIn("this build of setrl computes on CPUs", out)
        self.assertIn("8 replicas of 8 ranks", text)
        self.assertEqual(document["rollout_replicas"], 8)
        best = json.loads(self.call(SETRL, "plan", *config, "--plan.nodes=28", "--json"))
        self.assertEqual(sum(best["topology"].values()), 224)
        self.assertLessEqual(best["seconds"]["step"], document["seconds"]["step"])

    def test_a_small_run_fits_and_the_machines_are_readable(self):
        for machine in glob.glob(os.path.join(SOURCE, "configs/machines/*.cfg")):
            self.call(SETRL, "plan", "--plan.model=smollm2-135m", f"--plan.machine={machine}", "--plan.nodes=2")
        self.call(SETRL, "plan", *TINY, "--plan.ranks=4", "--check")
        self.call(SETRL, "plan", *TINY, "--plan.ranks=4", "--rollout.tensor_parallel=2", "--check")
        out = self.call(SETRL, "plan", *TINY, "--plan.ranks=6", "--rollout.tensor_parallel=4", "--check", code=2)
        self.assertIn("rollout.tensor_parallel = 4 does not divide 4 heads, 2 key/value heads", out)
        self.assertIn("plan.model", self.call(SETRL, "plan", "--plan.model=llama9", code=2))


class Failures(Launch):
    def test_ranks_with_another_setting_are_named(self):
        run = [SETRL, "train", *TINY, f"--run.dir={self.path('run')}"]
        out = self.call("mpirun", "--quiet", "--bind-to", "none", "-n", "2", *run, ":", "-n", "1", *run, "--learn.clip_low=0.1", code=2)
        self.assertIn("the ranks disagree: rank 2 on host", out)
        self.assertIn("learn.clip_low is '0.1' there, '0.2' on rank 0", out)

    def test_ranks_with_another_program_are_named(self):
        other = self.path("setrl")
        with open(SETRL, "rb") as file:
            program = file.read()
        build = self.call(SETRL, "--version").split()[-1]
        self.assertRegex(build, "^[0-9a-f]{40}$")
        with open(other, "wb") as file:
            file.write(program.replace(bytes.fromhex(build), bytes(20)))
        os.chmod(other, 0o755)
        run = ["train", *TINY, f"--run.dir={self.path('run')}"]
        out = self.call("mpirun", "--quiet", "--bind-to", "none", "-n", "1", SETRL, *run, ":", "-n", "1", other, *run, code=2)
        self.assertIn(f"the program's build is '{'0' * 40}' there, '{build}' on rank 0", out)

    def hang(self, act, deadline):
        """Starts three ranks, lets `act` do harm to a rank once a step is done, and returns output and logs/why.txt."""
        process = subprocess.Popen(["mpirun", "--quiet", "--bind-to", "none", "-n", "3", SETRL, "train", *TINY, "--run.steps=100000",
                                    f"--run.deadline_s={deadline}", f"--run.dir={self.path('run')}"], env=ENVIRONMENT, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder)
        try:
            until = time.monotonic() + 60
            while not os.path.exists(self.path("run/metrics.jsonl")) or os.path.getsize(self.path("run/metrics.jsonl")) == 0:
                self.assertLess(time.monotonic(), until)
                time.sleep(0.05)
            out = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
            self.assertEqual(len(out), 3)
            victim = int(sorted(out, key=int)[1])  # rank 1: the rollout
            act(victim)
            text = process.communicate(timeout=60)[0]
        finally:
            process.kill()
        self.assertNotEqual(process.returncode, 0)
        with open(self.path("run/logs/why.txt")) as file:
            return text, file.read()

    def test_a_stopped_rank_is_named_with_its_host(self):
        stopped = []

        def stop(pid):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        try:
            text, why = self.hang(stop, 2)
        finally:
            for pid in stopped:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.assertRegex(text, r"waited longer than 2 s; missing: (.*, )?rank 1 \(busy outside communication, or dead\) on host \S+")
        self.assertTrue(why.startswith("first cause\n"), why)
        self.assertIn("rank 1 (busy outside communication, or dead)", why)

    def test_a_crash_leaves_its_stack(self):
        _, why = self.hang(lambda pid: os.kill(pid, signal.SIGSEGV), 30)
        self.assertRegex(why, r"first cause\n.* rank 1 of 3 on host \S+ \(rollout, step \d+\) failed: SIGSEGV\n")
        self.assertRegex(why, r"    setrl::\S+")

    def test_a_rank_that_computes_for_too_long_tells_where_it_is(self):
        out = subprocess.run(["mpirun", "--quiet", "--bind-to", "none", "-n", "3", SETRL, "train", *TINY[:3], "--run.steps=1",
                              "--task.prompts_per_step=256", "--rollout.max_new_tokens=512", "--run.deadline_s=1",
                              f"--run.dir={self.path('run')}"], env=ENVIRONMENT, text=True, capture_output=True, timeout=100)
        self.assertEqual(out.returncode, 3, out.stderr)
        self.assertRegex(out.stderr, r"rank \d \(busy outside communication\) on host \S+ \[\w+, step 1\], its stack:\n")
        # Which role is slowest depends on the machine, and its innermost frames may be functions without a name in the
        # dynamic symbols ("setrl + 0x..."); those further out are named, with their program or library.
        self.assertRegex(out.stderr, r"its stack:\n( +\S+ \+ 0x[0-9a-f]+\n)* +\S[^\n]* \((setrl|lib\S+)\)\n")


if __name__ == "__main__":
    unittest.main()
