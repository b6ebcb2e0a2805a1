"""End-to-end tests of the program with the tiny random model: role splits, resume, signals, replay, errors, commands."""
import array
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
SETRL = os.path.join(os.environ["SETRL_BINARY_DIR"], "setrl")
TIMINGS = {"rollout_s", "verify_s", "learn_s", "sync_s", "trajectory_s", "checkpoint_s", "step_s", "rollout_tokens_per_s", "learn_tokens_per_s",
           "peak_rss_bytes", "rollout_idle", "straggler_rank", "straggler_lag_s", "straggler_idle", "straggler_tokens"}
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_btl_vader_single_copy_mechanism="none")
STABLE_KEYS = """step policy_version reward_mean reward_std format_rate correct_per_set unique_correct pass_at_1 pass_at_k brier ece
auroc confidence_sum tokens_per_completion truncated_rate groups_without_signal loss grad_norm clip_fraction kl entropy
logprob_gap_mean logprob_gap_max staleness learning_rate rollout_s verify_s learn_s sync_s checkpoint_s step_s
rollout_tokens_per_s learn_tokens_per_s peak_rss_bytes""".split()


# A quarter of the tiny model: what is tested here is the same in any size.
SHAPE = ["--model.random_hidden=64", "--model.random_layers=2", "--model.random_vocabulary=1024"]
# With two kv heads, for two ranks that hold one model together.
WIDE = ["--model.random_hidden=128", "--model.random_layers=2", "--model.random_vocabulary=1024"]

# The random model's sets are all malformed and give no gradient. These options do: the decay moves the weights away from the
# reference, and the KL term pulls them back.
MOVING = ["--learn.learning_rate=1e-3", "--learn.weight_decay=10", "--learn.kl_coefficient=0.5"]


class Program(unittest.TestCase):
    """A fresh folder for each test, and how the program is called."""

    PATIENCE_S = 240
    SHAPE = SHAPE  # of the random model

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="setrl-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, command, *options, ranks=1):
        launcher = ["mpirun", "--quiet", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
        config = []
        if command in ("train", "sft", "eval", "ask"):
            config += ["--config", os.path.join(SOURCE, "configs/demo_tiny.cfg")]
            if not any("random_hidden" in option for option in options):
                config += self.SHAPE
            # Teams of threads that wait for each other do badly beside other tests.
            if not any("run.threads" in option for option in options):
                config.append("--run.threads=1")
        return launcher + [SETRL, command, *config, *options]

    def start(self, *arguments, **keywords):
        return subprocess.Popen(self.command(*arguments, **keywords), env=ENVIRONMENT, cwd=self.folder, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def call(self, *arguments, code=0, **keywords):
        process = self.start(*arguments, **keywords)
        out, err = process.communicate(timeout=self.PATIENCE_S)
        self.assertEqual(process.returncode, code, f"{arguments}\n{out}\n{err}")
        return out + err

    def train(self, name, *options, ranks=1, code=0):
        return self.call("train", f"--run.dir={self.path(name)}", "--rollout.max_new_tokens=24", *options, ranks=ranks, code=code)

    def one_line(self, *arguments, ranks=1):
        """The error of a command that ends with code 2."""
        out = self.call(*arguments, ranks=ranks, code=2)
        lines = [line for line in out.splitlines() if "error: " in line]
        self.assertEqual(len(lines), 1, out)
        self.assertNotIn("check failed", out)
        return lines[0]

    def metrics(self, name):
        with open(os.path.join(self.path(name), "metrics.jsonl")) as lines:
            return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS} for line in lines]

    def weights(self, name):
        out = tempfile.mkdtemp(dir=self.folder)
        self.call("export", self.path(name), f"--output={out}")
        with open(os.path.join(out, "model.safetensors"), "rb") as file:
            return file.read()


class Splits(Program):
    STEPS = ["--run.steps=3", *MOVING]

    def expect_moved(self, *names):
        """The runs changed their weights, and after the first step by a gradient too: equal weights say something."""
        self.call("export", "--model.path=random", *SHAPE, f"--output={self.path('start')}")
        with open(self.path("start/model.safetensors"), "rb") as file:
            start = file.read()
        for name in names:
            self.assertNotEqual(self.weights(name), start, name)
            self.assertGreater(self.metrics(name)[-1]["grad_norm"], 1e-3, name)

    def test_every_split_generates_and_grades_the_same(self):
        self.train("one", *self.STEPS)
        self.expect_moved("one")
        expected = self.metrics("one")
        self.assertEqual(len(expected), 3)
        for ranks, options in ((2, []), (3, []), (5, ["--topology.rollout=2", "--topology.verifier=1", "--topology.learner=2"])):
            name = f"split{ranks}"
            self.train(name, *self.STEPS, *options, ranks=ranks)
            actual = self.metrics(name)
            if ranks < 5:  # one learner
                self.assertEqual(actual, expected)
                self.assertEqual(self.weights(name), self.weights("one"))
                continue
            # More learners change only rounding. The first step's groups come from the same weights: equal to the last bit.
            for key in ("reward_mean", "reward_std", "tokens_per_completion", "format_rate"):
                self.assertEqual(actual[0][key], expected[0][key], key)
            for one, other in zip(expected, actual):
                for key in ("grad_norm", "loss", "kl", "entropy"):
                    self.assertAlmostEqual(other[key], one[key], delta=1e-4 * abs(one[key]) + 1e-7, msg=f"{key} of step {one['step']}")

    def test_the_number_of_verifiers_changes_nothing(self):
        self.train("a", *self.STEPS, ranks=3)
        self.train("b", *self.STEPS, "--topology.rollout=1", "--topology.verifier=3", "--topology.learner=1", ranks=5)
        self.expect_moved("a")
        self.assertEqual(self.metrics("a"), self.metrics("b"))
        self.assertEqual(self.weights("a"), self.weights("b"))

    def test_equal_runs_are_equal_and_keys_are_all_there(self):
        self.train("a", *self.STEPS, "--run.threads=2")
        self.train("b", *self.STEPS, "--run.threads=2")
        self.assertEqual(self.metrics("a"), self.metrics("b"))
        with open(self.path("a/metrics.jsonl")) as lines:
            for line in lines:
                self.assertFalse(set(STABLE_KEYS) - set(json.loads(line)))
        for name in ("config.cfg", "trajectories/step-000001.h5", "checkpoints/latest/DONE", "logs/rank-0000.log"):
            self.assertTrue(os.path.exists(self.path("a/" + name)), name)
        self.train("c", *self.STEPS, "--run.seed=44")
        self.assertNotEqual(self.metrics("a"), self.metrics("c"))


class Replacement(Program):
    def test_groups_without_signal_are_replaced(self):
        # A random model's sets are all malformed: every group of the first round has equal rewards.
        self.train("run", "--run.steps=1", "--rollout.replacement_rounds=2")
        self.assertIn("6 problems, 24 completions", self.call("inspect", self.path("run/trajectories/step-000001.h5")))
        self.train("dropped", "--run.steps=1", "--learn.drop_zero_variance=yes")
        self.assertEqual(self.metrics("dropped")[0]["trained_tokens"], 0)


class Resume(Program):
    def test_a_continued_run_equals_the_uninterrupted_one(self):
        self.train("whole", "--run.steps=4", "--store.every=2", *MOVING)
        # Killed after the checkpoint of step 2, with lines of later steps already written.
        process = self.start("train", f"--run.dir={self.path('cut')}", "--rollout.max_new_tokens=24", "--run.steps=4", "--store.every=2", *MOVING)
        done = self.path("cut/checkpoints/step-000002/DONE")
        while not os.path.exists(done) and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate()
        self.assertTrue(os.path.exists(done))
        self.train("cut", "--run.steps=4", "--store.every=2", *MOVING, "--run.resume=auto")
        self.assertGreater(self.metrics("whole")[-1]["grad_norm"], 0)
        self.assertEqual(self.metrics("cut"), self.metrics("whole"))
        self.assertEqual(self.weights("cut"), self.weights("whole"))
        # Once finished, continuing has nothing to do and changes nothing.
        self.train("cut", "--run.steps=4", "--store.every=2", *MOVING, "--run.resume=auto")
        self.assertEqual(self.metrics("cut"), self.metrics("whole"))

    def test_another_number_of_learners_continues(self):
        self.train("run", "--run.steps=2", "--store.every=2", ranks=4)
        self.train("run", "--run.steps=3", "--run.resume=auto", ranks=3)
        self.assertEqual([line["step"] for line in self.metrics("run")], [1, 2, 3])

    def test_another_configuration_is_refused_with_the_key(self):
        self.train("run", "--run.steps=1")
        out = self.train("run", "--run.steps=2", "--run.resume=auto", "--learn.clip_low=0.1", code=2)
        self.assertIn("learn.clip_low: 0.2 -> 0.1", out)

    def test_a_run_is_not_overwritten(self):
        self.train("run", "--run.steps=1")
        self.assertIn("run.resume=auto", self.train("run", "--run.steps=1", code=2))


class Adapters(Program):
    """learn.lora_rank: checkpoints hold the adapters, everything that opens one sees the merged model."""

    OPTIONS = ["--learn.lora_rank=4", "--learn.lora_alpha=8", "--learn.lora_targets=q_proj,v_proj,down_proj",
               "--store.every=1"]

    def tensors(self, path):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            data = file.read()
        header.pop("__metadata__")
        return {name: (entry["shape"], array.array("f", data[slice(*entry["data_offsets"])])) for name, entry in header.items()}

    def test_run_resume_and_exports(self):
        # The cold start moves the adapters; a random model's completions would not (all are malformed).
        self.call("sft", f"--run.dir={self.path('whole')}", *self.OPTIONS, "--sft.cases=64", "--sft.epochs=1",
                  "--sft.learning_rate=0.01")
        start = [f"--model.path={self.path('whole')}", *self.OPTIONS, "--learn.schedule=constant"]
        self.train("cut", "--run.steps=1", *start)
        self.train("cut", "--run.steps=2", *start, "--run.resume=auto")
        self.train("uncut", "--run.steps=2", *start)
        self.assertEqual(self.metrics("cut"), self.metrics("uncut"))
        self.assertEqual(self.weights("cut"), self.weights("uncut"))

        merged_folder, adapter_folder, base_folder = (self.path(name) for name in ("merged", "adapters", "base"))
        self.call("export", self.path("whole"), f"--output={merged_folder}")
        self.call("export", self.path("whole"), f"--output={adapter_folder}", "--export.format=peft")
        self.call("export", "--model.path=random", *SHAPE, f"--output={base_folder}")
        with open(os.path.join(adapter_folder, "adapter_config.json")) as file:
            config = json.load(file)
        self.assertEqual((config["peft_type"], config["r"], config["lora_alpha"], config["target_modules"]),
                         ("LORA", 4, 8, ["q_proj", "v_proj", "down_proj"]))
        adapters = self.tensors(os.path.join(adapter_folder, "adapter_model.safetensors"))
        merged = self.tensors(os.path.join(merged_folder, "model.safetensors"))
        base = self.tensors(os.path.join(base_folder, "model.safetensors"))
        self.assertEqual(len(adapters), 2 * 3 * 2)  # of each layer three modules, with an A and a B
        moved = 0
        for name, (size, before) in base.items():
            after = merged[name][1]
            module = "base_model.model." + name[:-len(".weight")]
            if module + ".lora_A.weight" not in adapters:
                self.assertEqual(after, before, name)
                continue
            (_, a), (_, b) = adapters[module + ".lora_A.weight"], adapters[module + ".lora_B.weight"]
            for row in range(0, size[0], 17):
                for column in range(0, size[1], 13):
                    change = 8 / 4 * sum(b[row * 4 + r] * a[r * size[1] + column] for r in range(4))
                    moved = max(moved, abs(change))
                    self.assertAlmostEqual(after[row * size[1] + column], before[row * size[1] + column] + change, delta=1e-6)
        self.assertGreater(moved, 1e-4)
        out = self.call("export", f"--model.path={base_folder}", f"--output={self.path('x')}", "--export.format=peft", code=2)
        self.assertIn("holds no adapters", out)


class Signals(Program):
    def stop(self, ranks):
        name = f"run{ranks}"
        process = self.start("train", f"--run.dir={self.path(name)}", "--rollout.max_new_tokens=24", "--run.steps=500", ranks=ranks)
        lines = self.path(name + "/metrics.jsonl")
        while process.poll() is None and not (os.path.exists(lines) and os.path.getsize(lines) > 0):
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR2)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75, out + err)
        return name

    def test_a_signal_saves_and_exits_75(self):
        for ranks in (1, 3):
            name = self.stop(ranks)
            done = len(self.metrics(name))
            self.assertTrue(os.path.exists(self.path(f"{name}/checkpoints/step-{done:06}/DONE")))
            self.train(name, f"--run.steps={done + 1}", "--run.resume=auto", ranks=ranks)
            self.assertEqual(len(self.metrics(name)), done + 1)


class Replay(Program):
    def test_stored_trajectories_give_the_same_update(self):
        self.train("live", "--run.steps=2", *MOVING)
        self.train("replayed", "--run.steps=2", *MOVING, f"--learn.replay={self.path('live')}")
        self.assertEqual(self.weights("live"), self.weights("replayed"))
        for live, replayed in zip(self.metrics("live"), self.metrics("replayed")):
            self.assertEqual(live["loss"], replayed["loss"])
            self.assertEqual(live["reward_mean"], replayed["reward_mean"])


class Errors(Program):
    def test_mistakes_end_with_one_clear_line_and_code_2(self):
        out = f"--run.dir={self.path('x')}"
        self.assertIn("learn.learning_rate", self.one_line("train", out, "--learn.learning_rat=1"))
        self.assertIn("run.steps", self.one_line("train", out, "--run.step=1", ranks=3))
        self.assertIn("no/such/model", self.one_line("train", out, "--model.path=no/such/model"))
        self.assertIn("no/such/folder", self.one_line("train", out, "--task.name=ddxplus", "--task.path=no/such/folder", ranks=2))
        self.assertIn("4", self.one_line("train", out, "--topology.rollout=2", "--topology.verifier=1", "--topology.learner=1", ranks=3))
        self.assertIn("max_prompt_tokens", self.one_line("train", out, "--task.max_prompt_tokens=16"))
        self.assertIn("trian", self.one_line("trian"))
        self.assertIn("no.h5", self.one_line("inspect", "no.h5"))

    def test_an_unwritable_run_directory(self):
        open(self.path("file"), "w").close()
        self.assertIn("run.dir", self.one_line("train", f"--run.dir={self.path('file')}/run"))


def project_python(*modules):
    """The project's Python where it has the modules, else None."""
    path = os.environ.get("SETRL_PYTHON", os.path.join(SOURCE, ".venv/bin/python"))
    found = os.path.exists(path) and subprocess.run([path, "-c", "import " + ", ".join(modules)], stderr=subprocess.DEVNULL).returncode == 0
    return path if found else None


class Evaluation(Program):
    """Modes, files and figures of an evaluation, and the report, after a cold start on the demo task."""

    def evaluate(self, name, mode, *options, ranks=1):
        self.call("eval", f"--model.path={self.path('sft')}", f"--run.dir={self.path(name)}", f"--eval.mode={mode}",
                  "--eval.problems=6", "--rollout.max_new_tokens=110", *options, ranks=ranks)
        with open(self.path(name + "/eval.json")) as file:
            return json.load(file)

    def test_modes_files_figures_and_report(self):
        self.call("sft", f"--run.dir={self.path('sft')}", "--sft.cases=256", "--sft.epochs=6", "--sft.learning_rate=6e-3")
        self.modes_equal_an_independent_calculation_and_can_be_drawn()
        self.a_run_evaluates_in_another_mode_and_is_reported()

    def modes_equal_an_independent_calculation_and_can_be_drawn(self):
        python = project_python("numpy", "h5py", "matplotlib")
        if python is None:
            self.skipTest("NOT TESTED: no Python with numpy, h5py and matplotlib; run launch/setup.sh or set SETRL_PYTHON")
        plans = {"multi": (["--eval.samples=3"], 3), "single": (["--eval.samples=6"], 1),
                 "best_of_n": (["--eval.samples=6"], 3), "self_consistency": (["--eval.samples=6", "--task.k=2"], 2)}
        documents = {}
        for mode, (options, k) in plans.items():
            document = documents[mode] = self.evaluate(mode, mode, *options, ranks=2 if mode == "single" else 1)
            self.assertEqual((document["mode"], document["k"], document["problems"]), (mode, k, 6))
            aggregation = [mode] if mode in ("best_of_n", "self_consistency") else []
            check = subprocess.run([python, os.path.join(SOURCE, "tests/evaluate/check_recorded.py"), self.path(mode), str(k), *aggregation],
                                   capture_output=True, text=True)
            self.assertEqual(check.returncode, 0, f"{mode}\n{check.stdout}{check.stderr}")
        self.assertGreater(documents["multi"]["metrics"]["format_rate"]["value"], 0)  # or there was nothing to calculate
        # The set's cost is that of all the samples it was made of.
        metrics = {mode: {key: value["value"] for key, value in document["metrics"].items()} for mode, document in documents.items()}
        self.assertAlmostEqual(metrics["best_of_n"]["tokens_per_completion"], 6 * metrics["single"]["tokens_per_completion"])
        self.assertEqual(len(documents["single"]["curve"]), 6)
        out = subprocess.run([python, os.path.join(SOURCE, "tools/plot_eval.py"), "--out", self.path("figures"),
                              *(self.path(mode + "/eval.json") for mode in plans), "--labels", *plans],
                             capture_output=True, text=True)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        for name in ("coverage_answers", "coverage_tokens", "unique_answers", "reliability", "confidence_sums", "confidence_sum_reliability"):
            for suffix in ("png", "svg"):
                self.assertGreater(os.path.getsize(self.path(f"figures/{name}.{suffix}")), 4000)

    def a_run_evaluates_in_another_mode_and_is_reported(self):
        self.call("train", f"--model.path={self.path('sft')}", f"--run.dir={self.path('run')}", "--run.steps=2", "--eval.every=1",
                  "--eval.problems=3", "--eval.samples=3", "--eval.mode=self_consistency", "--rollout.max_new_tokens=100", ranks=3)
        with open(self.path("run/eval-000002.json")) as file:
            self.assertEqual(json.load(file)["mode"], "self_consistency")
        self.assertIn("report.html", self.call("report", self.path("run")))
        with open(self.path("run/report.html"), encoding="utf-8") as file:
            page = file.read()
        self.assertGreaterEqual(page.count("<svg"), 15)
        for part in ("Training", "Evaluation", "Examples of step 2", "Configuration", "golds: "):
            self.assertIn(part, page)
        for outside in ("<script", "http://", "https://", "src="):  # self-contained
            self.assertNotIn(outside, page)
        import html.parser
        stack = []

        class Balanced(html.parser.HTMLParser):
            def handle_starttag(self, tag, attributes):
                if tag not in ("meta", "br"):
                    stack.append(tag)

            def handle_startendtag(self, tag, attributes):
                pass

            def handle_endtag(self, tag):
                assert stack.pop() == tag, tag

        Balanced().feed(page)
        self.assertEqual(stack, [])
        self.call("report", self.path("nothing"), code=2)


class OwnTask(Program):
    """Task jsonl with the example's verifier, and with one that fails."""
    VERIFIER = os.path.join(SOURCE, "docs/own_task/verifier.py")

    def setUp(self):
        super().setUp()
        self.options = ["--task.name=jsonl", f"--task.path={self.path('data')}", "--task.k=1", "--reward.kind=rlvr",
                        "--rollout.max_new_tokens=60"]
        os.mkdir(self.path("data"))
        for split in ("train", "test"):
            with open(self.path(f"data/{split}.jsonl"), "w") as file:
                for i in range(48):
                    wanted = (2, 3, 5)[i % 3]
                    file.write(json.dumps({"prompt": f"Number {i}: a multiple of {wanted}?", "grader": "external", "golds": [str(9 * wanted)],
                                           "payload": {"multiple_of": wanted, "digit_sum": sum(map(int, str(9 * wanted)))}}) + "\n")

    def train_with(self, name, command, *options, code=0, ranks=1):
        return self.call("train", f"--model.path={self.path('sft')}", f"--run.dir={self.path(name)}", "--run.steps=2",
                         f"--verify.external={command}", *self.options, *options, code=code, ranks=ranks)

    def test_an_external_verifier_decides_and_its_failures_are_no_zeros(self):
        self.call("sft", f"--run.dir={self.path('sft')}", "--sft.cases=48", "--sft.epochs=40", "--sft.learning_rate=2e-3", *self.options)
        self.train_with("good", f"exec python3 '{self.VERIFIER}'", "--verify.external_processes=2", ranks=3)
        good = self.metrics("good")
        self.assertEqual([line["infrastructure_failures"] for line in good], [0, 0])
        self.assertGreater(good[0]["format_rate"], 0.2)
        self.assertGreater(good[0]["correct_per_set"], 0)
        self.assertIn("correct", self.call("inspect", self.path("good"), "--step=1"))
        # A program that crashes on every request: nothing is learned from its completions, and the run goes on.
        out = self.train_with("crash", "read line; exit 7", "--verify.retries=1", "--verify.max_failures=1000")
        self.assertIn("exit code 7; the completion is left out", out)
        crash = self.metrics("crash")
        self.assertGreater(crash[0]["infrastructure_failures"], 0)
        self.assertNotEqual(crash[0]["reward_mean"], good[0]["reward_mean"])
        # By default such a run ends, with the reason.
        out = self.train_with("broken", "read line; exit 7", "--verify.max_failures=3", code=2)
        self.assertIn("no usable answer 3 times in a row", out)
        self.assertIn("verify.external", self.train_with("none", "", code=2))

    def test_the_example_of_the_documentation_works(self):
        folder = os.path.join(SOURCE, "docs/own_task")
        config = os.path.join(SOURCE, "configs/own_task.cfg")
        for command, model in (("sft", "random"), ("train", self.path("example-sft"))):
            run = self.path("example-sft" if command == "sft" else "example")
            options = ["--run.threads=1"] + ([*SHAPE, "--sft.learning_rate=4e-3"] if command == "sft" else [])
            result = subprocess.run([SETRL, command, "--config", config, *options, f"--model.path={model}", f"--run.dir={run}", f"--task.path={folder}",
                                     f"--verify.external=exec python3 '{self.VERIFIER}'"], env=ENVIRONMENT, cwd=self.folder, text=True,
                                    capture_output=True, timeout=240)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        lines = self.metrics("example")
        self.assertEqual(sum(line["infrastructure_failures"] for line in lines), 0)
        self.assertGreater(max(line["format_rate"] for line in lines), 0)


class Commands(Program):
    def test_sft_teaches_and_the_other_commands_read_its_result(self):
        self.call("sft", f"--run.dir={self.path('sft')}", "--sft.cases=96", "--sft.epochs=1", "--sft.learning_rate=6e-3")
        losses = [line["loss"] for line in self.metrics("sft")]
        self.assertLess(losses[-1], 0.9 * losses[0])
        out = self.call("eval", f"--model.path={self.path('sft')}", f"--run.dir={self.path('eval')}", "--eval.problems=4",
                        "--rollout.max_new_tokens=16")
        self.assertIn("correct", out)
        with open(self.path("eval/eval.json")) as file:
            document = json.load(file)
        self.assertEqual(document["task"], "demo")
        self.assertTrue(os.path.exists(self.path("eval/eval.h5")))
        two = self.call("eval", f"--model.path={self.path('sft')}", f"--run.dir={self.path('eval2')}", "--eval.problems=4",
                        "--rollout.max_new_tokens=16", ranks=2)
        self.assertIn("correct", two)
        with open(self.path("eval2/eval.json")) as file:
            self.assertEqual(json.load(file)["metrics"], document["metrics"])
        self.call("ask", "fever and cough", f"--model.path={self.path('sft')}", "--rollout.max_new_tokens=8")
        self.call("train", f"--model.path={self.path('sft')}", f"--run.dir={self.path('rl')}", "--run.steps=1",
                  "--rollout.max_new_tokens=16", "--eval.every=1", "--eval.problems=2")
        self.assertTrue(glob.glob(self.path("rl/eval-000001.json")))
        summary = self.call("inspect", self.path("rl"))
        self.assertIn("completions", summary)
        problem = next(word for line in summary.splitlines() for word in line.split() if word.startswith("demo/"))
        self.assertIn("golds:", self.call("inspect", self.path("rl"), "--step=1", f"--problem={problem}"))
        self.call("import", self.path("rl"), f"--output={self.path('hf')}", "--dtype=bfloat16")
        self.call("eval", f"--model.path={self.path('hf')}", f"--run.dir={self.path('eval3')}", "--eval.problems=2",
                  "--rollout.max_new_tokens=8")

    def test_help_and_dry_run(self):
        self.assertIn("train", self.call("--help"))
        self.assertIn("--learn.clip_low", self.call("train", "--help"))
        self.assertIn("verifier", self.call("train", "--dry-run", ranks=3))

    def test_what_cannot_be_printed_is_an_error(self):
        for arguments in (["--version"], ["plan", "--help"]):
            with open("/dev/full", "w") as full:
                ended = subprocess.run([SETRL, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual((ended.returncode, ended.stderr), (2, "setrl: error: standard output cannot be written\n"))


if __name__ == "__main__":
    unittest.main()
