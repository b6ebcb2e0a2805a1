"""What is exported gives, in transformers, the logits of the program's own decoder on what it was exported from. Skips loudly
where the interpreter (SETRL_PYTHON, or .venv of the source) has no torch and transformers."""
import array
import json
import os
import subprocess
import unittest

from program_test import ENVIRONMENT, MOVING, SOURCE, Program, project_python

TOOL = os.environ["SETRL_LOGITS_TOOL"]
SMOLLM2 = os.path.join(SOURCE, "models/SmolLM2-135M-Instruct.Q4_1.gguf")

# Folder and ids on the command line, our logits on standard input. Prints the largest difference as a part of the largest logit,
# and the share of places where both expect the same token.
COMPARE = """
import sys, torch
from transformers import AutoModelForCausalLM
ids = torch.tensor([[int(word) for word in sys.argv[2:]]])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
with torch.no_grad():
    theirs = model(ids).logits[0]
ours = torch.frombuffer(bytearray(sys.stdin.buffer.read()), dtype=torch.float32).view(theirs.shape)
print(((ours - theirs).abs().max() / theirs.abs().max()).item(), (ours.argmax(1) == theirs.argmax(1)).float().mean().item())
"""


class Logits(Program):
    def setUp(self):
        super().setUp()
        self.python = project_python("torch", "transformers")
        if self.python is None:
            self.skipTest("NOT TESTED: exported logits (no Python with torch and transformers; name one with SETRL_PYTHON)")

    def expect_equal(self, source, folder, ids, bound):
        words = [str(i) for i in ids]
        ours = subprocess.run([TOOL, source, *words], env=ENVIRONMENT, check=True, stdout=subprocess.PIPE).stdout
        self.assertGreater(max(array.array("f", ours)), 0)
        out = subprocess.run([self.python, "-c", COMPARE, folder, *words], input=ours, check=True, stdout=subprocess.PIPE,
                             env=dict(ENVIRONMENT, TRANSFORMERS_VERBOSITY="error", OMP_NUM_THREADS="2")).stdout
        error, equal = map(float, out.split())
        print(f"{os.path.basename(source)}, {len(ids)} tokens: largest difference {error:.1e} of the largest logit", flush=True)
        self.assertLess(error, bound)
        self.assertEqual(equal, 1)

    def test_a_trained_tiny_model(self):
        self.train("run", "--run.steps=2", *MOVING)
        self.call("export", self.path("run"), f"--output={self.path('out')}")
        with open(self.path("out/config.json")) as file:
            vocabulary = json.load(file)["vocab_size"]
        self.expect_equal(self.path("run"), self.path("out"), [(7 + 31 * i) % vocabulary for i in range(48)], 1e-5)

    def test_smollm2(self):
        if not os.path.exists(SMOLLM2):
            self.skipTest(f"NOT TESTED: no {SMOLLM2}; run launch/setup.sh")
        with open(os.path.join(SOURCE, "tests/fixtures/model/smollm2.json")) as file:
            ids = json.load(file)["tokens"]
        self.call("export", SMOLLM2, f"--output={self.path('float')}", "--export.dtype=float32")
        self.expect_equal(SMOLLM2, self.path("float"), ids, 1e-5)
        # The stored numbers are rounded once: both then start from the same.
        self.call("export", SMOLLM2, f"--output={self.path('rounded')}", "--export.dtype=bfloat16")
        self.expect_equal(self.path("rounded"), self.path("rounded"), ids, 1e-5)


if __name__ == "__main__":
    unittest.main()
