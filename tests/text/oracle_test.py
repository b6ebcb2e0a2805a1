"""Tokenizers and chat templates against the `tokenizers` and `transformers` packages, on more than 10,000 strings.

Runs itself again in the project's .venv, which has the packages; skips loudly without it.
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata
import unittest

SOURCE = os.environ["SETRL_SOURCE_DIR"]
DATA = os.environ["SETRL_DATA"]
TOOL = os.environ["SETRL_ENCODE_TOOL"]
PYTHON = os.environ.get("SETRL_PYTHON", os.path.join(SOURCE, ".venv/bin/python"))
try:
    import tokenizers
    import transformers
except ImportError:
    if os.path.exists(PYTHON) and os.path.realpath(sys.prefix) != os.path.realpath(os.path.dirname(os.path.dirname(PYTHON))):
        os.execve(PYTHON, [PYTHON, "-m", "unittest", "-v", "oracle_test"], dict(os.environ, HF_HUB_OFFLINE="1"))
    tokenizers = transformers = None

LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")
LLAMA3_TEMPLATE = ("{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
                   "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
                   "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")


def assigned(code):
    """Characters that every Unicode version since 14.0 knows (newer ones have other properties in other libraries)."""
    return unicodedata.category(chr(code)) not in ("Cn", "Cs") and unicodedata.unidata_version >= "14"


def make_texts():
    rng = random.Random(20)
    letters = [c for c in range(0x110000) if c < 0xE000 or 0xF900 <= c < 0xF0000]
    letters = [c for c in letters if assigned(c)]
    texts = [b"", b" ", b"  ", b"\n", b"\r\n", b"\x00", b"a", b"'s", b"'S'T don't DON'T I'LL x'\xc5\xbf"]
    # Every block: runs of neighbours, alone and beside spaces and digits.
    for start in range(0, len(letters), 40):
        block = letters[start:start + 40]
        texts.append("".join(map(chr, block)).encode())
        texts.append(" ".join(chr(c) for c in rng.sample(block, min(12, len(block)))).encode())
    spaces = ["\t", "\n", "\r", "\v", "\f", " ", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u200b", "\u2028", "\u2029", "\u202f",
              "\u205f", "\u3000", "\ufeff"]
    emoji = ["👩‍👩‍👧", "🏳️‍🌈", "👍🏽", "🇩🇪", "😀", "❤️", "1️⃣"]
    words = ("the quick brown fox patient fever cough 38.5°C naïve café Straße données Привет мир 你好世界 こんにちは 안녕 مرحبا שלום "
             "नमस्ते ไทย e\u0301 A\u030a \u1100\u1161\u11a8 ﬁ ½ Ⅷ ٣ 12345 007 1,000.5 x=1; return foo(bar); {} [] <tag/> </answer1> "
             "<|im_end|> <|im_start|>user <|endoftext|> <think> I'm you're we'll CAN'T snake_case camelCase ___ --- ... ?! @#$%^&*").split()
    for _ in range(4000):
        parts = []
        for _ in range(rng.randint(1, 14)):
            kind = rng.random()
            if kind < 0.55:
                parts.append(rng.choice(words))
            elif kind < 0.65:
                parts.append(rng.choice(emoji))
            elif kind < 0.75:
                parts.append(rng.choice(spaces) * rng.choice([1, 1, 2, 3, 9]))
            elif kind < 0.85:
                parts.append(str(rng.randint(0, 10 ** rng.randint(1, 12))))
            else:
                parts.append("".join(chr(rng.choice(letters)) for _ in range(rng.randint(1, 5))))
            parts.append(rng.choice(["", " ", " ", "  ", "\n", "\n\n", "\t"]))
        texts.append("".join(parts).encode())
    for _ in range(600):  # any bytes: invalid sequences count as U+FFFD, as in Python
        texts.append(bytes(rng.randrange(256) for _ in range(rng.randint(1, 40))))
    for _ in range(300):  # cut characters
        text = "".join(rng.choice(words) for _ in range(4)).encode()
        texts.append(text[rng.randrange(4):len(text) - rng.randrange(4)])
    texts += [b" " * n for n in (7, 100, 3000)] + [b"\n" * 500, b"\t \t \n" * 200, b"a" * 5000, "é".encode() * 2000]
    with open(os.path.join(SOURCE, "CMakeLists.txt"), "rb") as file:
        texts += file.read().splitlines(keepends=True)
    data = os.path.join(DATA, "mbpp/mbpp.jsonl")
    if os.path.exists(data):
        with open(data, encoding="utf-8") as file:
            for line in file:
                problem = json.loads(line)
                texts += [problem["text"].encode(), problem["code"].encode()]
    return texts


def run_tool(path, *arguments, data=b""):
    return subprocess.run([TOOL, path, *arguments], input=data, stdout=subprocess.PIPE, check=True).stdout.decode()


def make_llama3(folder):
    """A small tokenizer of Llama-3's kind, trained on generated text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    rng = random.Random(3)
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(LLAMA3_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    syllables = ["ka", "to", "mi", "ré", "lu", "世", "ша", "12", "0", "'s", "-", "Th", "e", "ing"]
    corpus = [" ".join("".join(rng.choice(syllables) for _ in range(rng.randint(1, 4))) for _ in range(30)) for _ in range(300)]
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=1500, special_tokens=special, show_progress=False,
                                                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
                   "chat_template": LLAMA3_TEMPLATE}, file)


@unittest.skipIf(tokenizers is None, "SKIPPED: no Python with `tokenizers` and `transformers`; run launch/setup.sh")
class Oracle(unittest.TestCase):
    maxDiff = 500

    @classmethod
    def setUpClass(cls):
        cls.texts = make_texts()
        assert len(cls.texts) >= 10000, len(cls.texts)
        cls.packed = b"".join(struct.pack("<I", len(text)) + text for text in cls.texts)

    def compare(self, path, expected):
        lines = run_tool(path, "ids", data=self.packed).splitlines()
        self.assertEqual(len(lines), len(self.texts))
        wrong = outdated = 0
        for text, line in zip(self.texts, lines):
            ids, decoded, streamed = line.split("\t")
            readable = text.decode("utf-8", "replace")
            # The package's NFC tables are of an older Unicode than Python's and ours: combining marks added since differ.
            if expected.normalizer and expected.normalizer.normalize_str(readable) != unicodedata.normalize("NFC", readable):
                outdated += 1
                continue
            encoding = expected.encode(readable, add_special_tokens=False)
            got = [int(i) for i in ids.split()]
            if got != encoding.ids:
                wrong += 1
                if wrong <= 5:
                    print(f"{path}: {readable[:80]!r}\n  got  {got[:30]}\n  want {encoding.ids[:30]}", file=sys.stderr)
            self.assertEqual(bytes.fromhex(decoded).decode(), expected.decode(encoding.ids, skip_special_tokens=True))
            if not any(expected.id_to_token(i).startswith("<") for i in encoding.ids):
                self.assertEqual(streamed, decoded)
        self.assertLess(outdated, 200)
        self.assertEqual(wrong, 0, f"{wrong} of {len(lines)} texts differ")

    def data_folder(self, name):
        path = os.path.join(DATA, "tokenizers", name)
        if not os.path.exists(path):
            self.skipTest(f"SKIPPED: no {path}; set SETRL_DATA")
        return path

    def load(self, folder):
        return tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))

    def test_smollm2(self):
        folder = self.data_folder("smollm2")
        self.compare(folder, self.load(folder))

    def test_qwen(self):
        folder = self.data_folder("qwen2.5")
        self.compare(folder, self.load(folder))

    def test_llama3_style(self):
        with tempfile.TemporaryDirectory() as folder:
            make_llama3(folder)
            self.compare(folder, self.load(folder))

    def test_gguf_and_its_tokenizer_json(self):
        path = os.path.join(SOURCE, "models/SmolLM2-135M-Instruct.Q4_1.gguf")
        if not os.path.exists(path):
            self.skipTest(f"SKIPPED: no {path}; run launch/setup.sh")
        made = tokenizers.Tokenizer.from_str(run_tool(path, "json"))
        self.compare(path, made)

    def test_chat_templates(self):
        conversations = [
            [{"role": "user", "content": "Hello"}],
            [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "  Was ist 2+2?  \n"}],
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n"}, {"role": "user", "content": "<think>ü</think>"}],
            [{"role": "system", "content": ""}, {"role": "user", "content": "\u3000x\u2003"}],
        ]
        lines = "\n".join(json.dumps(c) for c in conversations).encode() + b"\n"
        with tempfile.TemporaryDirectory() as llama:
            make_llama3(llama)
            plain = os.path.join(llama, "chatml")
            os.mkdir(plain)
            for name, template in (("tokenizer.json", None),):
                with open(os.path.join(self.data_folder("smollm2"), name)) as source, open(os.path.join(plain, name), "w") as out:
                    out.write(source.read())
            chatml = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
                      "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
            with open(os.path.join(plain, "tokenizer_config.json"), "w") as file:
                json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": chatml}, file)
            for folder in (self.data_folder("smollm2"), self.data_folder("qwen2.5"), llama, plain):
                oracle = transformers.AutoTokenizer.from_pretrained(folder)
                expected = [oracle.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in conversations]
                got = [json.loads(line) for line in run_tool(folder, "chat", "auto", data=lines).splitlines()]
                self.assertEqual(got, expected, folder)


if __name__ == "__main__":
    unittest.main()
