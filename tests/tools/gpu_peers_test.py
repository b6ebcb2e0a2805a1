"""gpu_peers.py behind setrl bench, on the CPU with tiny models; its decoder against transformers' logits (fixtures) and against
published numbers of parameters. Skips loudly where the interpreter (SETRL_PYTHON, or .venv of the source) has no torch."""
import json
import os
import subprocess
import tempfile
import unittest

SOURCE = os.environ["SETRL_SOURCE_DIR"]
SETRL = os.path.join(os.environ["SETRL_BINARY_DIR"], "setrl")
TOOLS = os.path.join(SOURCE, "tools")
PYTHON = os.environ.get("SETRL_PYTHON", os.path.join(SOURCE, ".venv/bin/python"))
TINY = ["--model.path=random", "--model.random_hidden=32", "--model.random_layers=2", "--model.random_vocabulary=320",
        "--model.dtype=float32", "--run.threads=1"]
SHAPES = {  # vocabulary, hidden, inner, layers, heads, kv heads, head size, tied, qkv bias, qk norm; parameters
    "qwen2.5-1.5b": (151936, 1536, 8960, 28, 12, 2, 128, True, True, False, 1543714304),
    "llama3-8b": (128256, 4096, 14336, 32, 32, 8, 128, False, False, False, 8030261248),
    "qwen3-8b": (151936, 4096, 12288, 36, 32, 8, 128, False, False, True, 8190735360),
}
NAMES = ("vocabulary", "hidden", "inner", "layers", "heads", "kv_heads", "head_size", "tied_embeddings", "qkv_bias", "qk_norm", "parameters")

# The tools' folder, the shapes, then fixture folders. Prints our numbers of parameters, without making any; then, with and without
# checkpointing, the largest difference of the logits, and of the log-probabilities that the step uses.
COMPARE = """
import glob, json, os, sys
sys.path.insert(0, sys.argv[1])
import gpu_peers, torch
for shape in json.loads(sys.argv[2]):
    with torch.device("meta"):
        print(gpu_peers.parameter_count(gpu_peers.Decoder({**shape, "norm_epsilon": 1e-6, "rope_theta": 1e6})))
for folder in sys.argv[3:]:
    from safetensors.torch import load_file
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    weights = {}
    for path in glob.glob(os.path.join(folder, "*.safetensors")):
        weights.update((name.replace("model.", "").replace("self_attn.", "").replace("mlp.", ""), tensor.float())
                       for name, tensor in load_file(path).items())
    heads = config["num_attention_heads"]
    shape = {"vocabulary": config["vocab_size"], "hidden": config["hidden_size"], "inner": config["intermediate_size"],
             "layers": config["num_hidden_layers"], "heads": heads, "kv_heads": config["num_key_value_heads"],
             "head_size": config.get("head_dim") or config["hidden_size"] // heads, "tied_embeddings": config["tie_word_embeddings"],
             "qkv_bias": "layers.0.q_proj.bias" in weights, "qk_norm": "layers.0.q_norm.weight" in weights,
             "norm_epsilon": config["rms_norm_eps"], "rope_theta": config["rope_parameters"]["rope_theta"]}
    read = lambda name, dtype: torch.frombuffer(bytearray(open(os.path.join(folder, name), "rb").read()), dtype=dtype)
    ids = read("ids.bin", torch.int64)
    theirs = read("logits.bin", torch.float32).view(len(ids), -1)
    expected = -theirs.log_softmax(1)[9:-1].gather(1, ids[10:, None])[:, 0].repeat(2)
    for checkpointing in (False, True):
        model = gpu_peers.Decoder(shape, checkpointing)
        model.load_state_dict(weights)
        nll = model.nll(ids.repeat(2, 1), 10)
        nll.sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        print(((model.logits(model(ids[None]))[0] - theirs).abs().max() / theirs.abs().max()).item(), (nll - expected).abs().max().item())
"""


# Prints which of the modules are there; torch must be one that can be imported.
PROBE = """
import importlib.util, torch
print(*(name for name in ("torch", "safetensors", "transformers") if importlib.util.find_spec(name)))
"""


class GpuPeers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.modules = []
        if os.path.exists(PYTHON):
            cls.modules = subprocess.run([PYTHON, "-c", PROBE], capture_output=True, text=True, timeout=100).stdout.split()
        if "torch" not in cls.modules:
            raise unittest.SkipTest("NOT TESTED: gpu_peers.py (no Python with torch; name one with SETRL_PYTHON)")

    def setrl(self, *arguments):
        done = subprocess.run([SETRL, "bench", *arguments, *TINY], capture_output=True, text=True, timeout=100)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])

    def peer(self, *lines, options=(), code=0, modules=None):
        environment = dict(os.environ, TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1")
        if modules:
            environment["PYTHONPATH"] = modules
        done = subprocess.run([PYTHON, os.path.join(TOOLS, "gpu_peers.py"), *options], input="".join(json.dumps(line) + "\n" for line in lines),
                              capture_output=True, text=True, env=environment, timeout=100)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def expect_same_work(self, ours, theirs, results, *work):
        for key in ("bench", "device", "dtype", "model", "shape", *work):
            self.assertEqual(ours[key], theirs[key], key)
        for key in results:
            self.assertGreater(ours[key], 0, key)
            self.assertGreater(theirs[key], 0, key)

    def test_a_step_in_plain_pytorch(self):
        ours = self.setrl("learn", "--bench.prompts=2", "--bench.group=3", "--bench.prompt=20", "--bench.new=12", "--bench.steps=3",
                          "--learn.micro_batch_tokens=100")
        theirs = self.peer(ours)
        self.expect_same_work(ours, theirs, ("learn_s", "tokens_per_s", "fraction_of_limit", "peak_rss_bytes"), "ranks", "prompts",
                              "group", "prompt_tokens", "new", "steps", "micro_batch_tokens", "activation_checkpointing")
        self.assertEqual((ours["peer"], theirs["peer"], ours["steps"]), ("setrl", "pytorch", 3))
        for line in ours, theirs:  # each prompt once
            self.assertAlmostEqual(line["tokens_per_s"] * line["learn_s"] / (2 * (20 + 3 * 12)), 1, delta=0.2)
        options = ["--checkpointing", "--steps=1", "--micro-batch-tokens=1000"]
        theirs = self.peer({**ours, "dtype": "BFloat16"}, options=options)
        self.assertEqual((theirs["dtype"], theirs["steps"], theirs["activation_checkpointing"], theirs["micro_batch_tokens"]),
                         ("BFloat16", 1, "block", 1000))
        wrong = {**ours, "shape": {**ours["shape"], "inner": ours["shape"]["inner"] + 1}}
        self.assertIn("parameters", self.peer(wrong, code=2))

    def test_generate_of_transformers(self):
        ours = self.setrl("rollout", "--bench.batch=4", "--bench.group=2", "--bench.prompt=16", "--bench.new=6")
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "transformers.py"), "w") as file:
                file.write("raise ImportError('not here')\n")
            self.assertIn("cannot import", self.peer(ours, code=2, modules=folder))
        if "transformers" not in self.modules:
            self.skipTest("NOT TESTED: generate beside setrl (no Python with torch and transformers; name one with SETRL_PYTHON)")
        theirs = self.peer(ours)
        self.expect_same_work(ours, theirs, ("seconds", "tokens_per_s", "decode_tokens_per_s", "prefill_tokens_per_s", "peak_rss_bytes"),
                              "batch", "prompt", "new", "group", "limit_tokens_per_s")
        self.assertEqual((ours["peer"], theirs["peer"]), ("setrl", "transformers"))

    def test_the_decoder_against_published_sizes_and_the_logits_of_transformers(self):
        shapes = [dict(zip(NAMES, values)) for values in SHAPES.values()]
        folders = [os.path.join(SOURCE, "tests/fixtures/model", name) for name in ("llama", "qwen2", "qwen3")]
        if "safetensors" not in self.modules:
            folders = []
        done = subprocess.run([PYTHON, "-c", COMPARE, TOOLS, json.dumps(shapes), *folders], capture_output=True, text=True, timeout=100)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual([int(line) for line in lines[:3]], [shape["parameters"] for shape in shapes])
        if not folders:
            self.skipTest("NOT TESTED: the decoder's logits (no Python with torch and safetensors; name one with SETRL_PYTHON)")
        self.assertEqual(len(lines), 3 + 6)
        for line in lines[3:]:
            logits, logprobs = map(float, line.split())
            self.assertLess(logits, 1e-5)
            self.assertLess(logprobs, 1e-4)


if __name__ == "__main__":
    unittest.main()
