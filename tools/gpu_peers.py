#!/usr/bin/env python3
"""Does the work of one line of `setrl bench learn` or `setrl bench rollout` with others; prints a line with the same names.

    setrl bench learn --bench.shape=qwen2.5-1.5b ... | tools/gpu_peers.py
    setrl bench rollout --bench.shape=llama3-8b ... | tools/gpu_peers.py

learn: a training step in plain PyTorch, on one device: float32 masters under bfloat16 autocast (or float32), scaled dot
product attention, AdamW (fused on a GPU), each completion with its own copy of the prompt, as TRL trains. rollout:
transformers' generate. Both with random weights of the line's shape. Exit code 2 where they cannot: a message says why.
"""
import argparse
import json
import resource
import sys
import time

HEAD_TOKENS = 2048  # whose logits are made at once


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


try:
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.utils.checkpoint import checkpoint
except ImportError as error:
    fail(f"{sys.executable} cannot import torch: {error}")


class Block(nn.Module):
    """Shapes: B sequences, T tokens, E hidden, H heads, N kv heads, D head size."""

    def __init__(self, shape):
        super().__init__()
        hidden, inner, self.size = shape["hidden"], shape["inner"], shape["head_size"]
        queries, keys, epsilon, bias = shape["heads"] * self.size, shape["kv_heads"] * self.size, shape["norm_epsilon"], shape["qkv_bias"]
        self.input_layernorm = nn.RMSNorm(hidden, epsilon)
        self.q_proj = nn.Linear(hidden, queries, bias=bias)
        self.k_proj = nn.Linear(hidden, keys, bias=bias)
        self.v_proj = nn.Linear(hidden, keys, bias=bias)
        self.q_norm = nn.RMSNorm(self.size, epsilon) if shape["qk_norm"] else None
        self.k_norm = nn.RMSNorm(self.size, epsilon) if shape["qk_norm"] else None
        self.o_proj = nn.Linear(queries, hidden, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(hidden, epsilon)
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x, cos, sin):  # x [B, T, E], cos and sin [T, D]
        def heads(y, norm=None):  # [B, T, H * D] -> [B, H, T, D]
            y = y.unflatten(-1, (-1, self.size)).transpose(1, 2)
            return y if norm is None else norm(y.float()).to(y.dtype)

        def rotate(y):
            left, right = y.chunk(2, dim=-1)
            return y * cos.to(y.dtype) + torch.cat((-right, left), dim=-1) * sin.to(y.dtype)

        normed = self.input_layernorm(x)
        q, k = heads(self.q_proj(normed), self.q_norm), heads(self.k_proj(normed), self.k_norm)
        attended = F.scaled_dot_product_attention(rotate(q), rotate(k), heads(self.v_proj(normed)), is_causal=True, enable_gqa=True)
        x = x + self.o_proj(attended.transpose(1, 2).flatten(2))
        normed = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))


class Decoder(nn.Module):
    def __init__(self, shape, checkpointing=False):
        super().__init__()
        self.checkpointing, self.theta, self.size = checkpointing, shape["rope_theta"], shape["head_size"]
        self.embed_tokens = nn.Embedding(shape["vocabulary"], shape["hidden"])
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape["layers"]))
        self.norm = nn.RMSNorm(shape["hidden"], shape["norm_epsilon"])
        self.lm_head = None if shape["tied_embeddings"] else nn.Linear(shape["hidden"], shape["vocabulary"], bias=False)

    def forward(self, ids):  # [B, T] -> hidden states [B, T, E]
        rates = self.theta ** (-torch.arange(0, self.size, 2, device=ids.device) / self.size)
        angles = torch.arange(ids.shape[1], device=ids.device).outer(rates).repeat(1, 2)
        cos, sin = angles.cos(), angles.sin()
        x = self.embed_tokens(ids)
        for block in self.layers:
            x = checkpoint(block, x, cos, sin, use_reentrant=False) if self.checkpointing else block(x, cos, sin)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight)

    def nll(self, ids, prompt):
        """Negative log-probabilities of the tokens after the prompt: ids [B, T] -> [B * (T - prompt)]."""
        rows = self(ids[:, :-1])[:, prompt - 1:].flatten(0, 1)
        parts = zip(rows.split(HEAD_TOKENS), ids[:, prompt:].flatten().split(HEAD_TOKENS))
        return torch.cat([F.cross_entropy(self.logits(part).float(), targets, reduction="none") for part, targets in parts])


def parameter_count(model):
    return sum(parameter.numel() for parameter in model.parameters())


class Clock:
    """Seconds since it was made, once the device is done."""

    def __init__(self, device):
        self.device, self.start = device, time.perf_counter()

    def seconds(self):
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - self.start


def learn(line, arguments):
    if line["ranks"] != 1:
        fail(f"the line is of {line['ranks']} ranks; this works on one device")
    shape, device, bfloat16 = line["shape"], arguments.device, line["dtype"] == "BFloat16"
    prompts, group, prompt, new = (line[key] for key in ("prompts", "group", "prompt_tokens", "new"))
    budget = arguments.micro_batch_tokens or line["micro_batch_tokens"]
    with torch.device(device):
        model = Decoder(shape, arguments.checkpointing)
        if parameter_count(model) != shape["parameters"]:
            fail(f"this decoder has {parameter_count(model)} parameters, the line's {shape['parameters']}")
        for parameter in model.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, 0, 0.02)
        shared = torch.randint(shape["vocabulary"], (prompts, prompt)).repeat_interleave(group, 0)
        ids = torch.cat((shared, torch.randint(shape["vocabulary"], (prompts * group, new))), 1)
        advantages = 1.0 - 2.0 * (torch.arange(prompts * group) % group % 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0, fused=device == "cuda")
    micro = max(1, budget // (prompt + new))

    for _ in range(arguments.steps or line["steps"]):  # the first warms up
        clock = Clock(device)
        for batch, advantage in zip(ids.split(micro), advantages.split(micro)):
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                nll = model.nll(batch, prompt)
            loss = (nll * advantage.repeat_interleave(new)).sum() / (prompts * group * new)
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds = clock.seconds()

    tokens = prompts * (prompt + group * new)  # as the line counts them: each prompt once
    limit = 6 * shape["parameters"] * tokens / (line["gemm_gflops"] * 1e9)
    return {"bench": "learn", "peer": "pytorch", "device": device, "dtype": line["dtype"], "model": line["model"], "shape": shape,
            "ranks": 1, "prompts": prompts, "group": group, "prompt_tokens": prompt, "new": new,
            "steps": arguments.steps or line["steps"], "micro_batch_tokens": budget,
            "activation_checkpointing": "block" if arguments.checkpointing else "none", "offload_optimizer": False,
            "learn_s": round(seconds, 5), "tokens_per_s": round(tokens / seconds, 1), "gemm_gflops": line["gemm_gflops"],
            "fraction_of_limit": round(limit / seconds, 3)}


def transformers_model(shape, dtype, device):
    import transformers
    sizes = {"vocab_size": shape["vocabulary"], "hidden_size": shape["hidden"], "intermediate_size": shape["inner"],
             "num_hidden_layers": shape["layers"], "num_attention_heads": shape["heads"], "num_key_value_heads": shape["kv_heads"],
             "head_dim": shape["head_size"], "tie_word_embeddings": shape["tied_embeddings"], "rms_norm_eps": shape["norm_epsilon"],
             "rope_theta": shape["rope_theta"], "max_position_embeddings": 131072}
    kind = "Qwen3" if shape["qk_norm"] else "Qwen2" if shape["qkv_bias"] else "Llama"
    config = getattr(transformers, kind + "Config")(**sizes)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    torch.set_default_dtype(torch.float32)
    if parameter_count(model) != shape["parameters"]:
        fail(f"transformers' {kind} has {parameter_count(model)} parameters, the line's {shape['parameters']}")
    return model


def rollout(line, arguments):
    shape, device = line["shape"], arguments.device
    batch, prompt, new, group = (line[key] for key in ("batch", "prompt", "new", "group"))
    model = transformers_model(shape, getattr(torch, line["dtype"]), device)

    def run(tokens):
        ids = torch.randint(shape["vocabulary"], (batch // group, prompt), device=device).repeat_interleave(group, 0)
        clock = Clock(device)
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
                                 do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=0)
        if tuple(out.shape) != (batch, prompt + tokens):
            fail(f"generate gave {tuple(out.shape)}, not {(batch, prompt + tokens)}")
        return clock.seconds()

    run(2)
    first, seconds = run(1), run(new)
    decoded = batch * (new - 1) / max(seconds - first, 1e-9)
    return {"bench": "rollout", "peer": "transformers", "device": device, "dtype": line["dtype"], "model": line["model"], "shape": shape,
            "batch": batch, "prompt": prompt, "new": new, "group": group, "seconds": round(seconds, 5),
            "tokens_per_s": round(batch * new / seconds, 1), "decode_tokens_per_s": round(decoded, 1),
            "prefill_tokens_per_s": round(batch // group * prompt / first, 1), "limit_tokens_per_s": line["limit_tokens_per_s"],
            "fraction_of_limit": round(decoded / line["limit_tokens_per_s"], 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the line's")
    parser.add_argument("--steps", type=int, help="learn: steps, of which the last is timed (default: the line's)")
    parser.add_argument("--micro-batch-tokens", type=int, help="learn: tokens at a time, prompts counted each time (default: the line's)")
    parser.add_argument("--checkpointing", action="store_true", help="learn: recompute each block in the backward pass")
    arguments = parser.parse_args()
    lines = [json.loads(text) for text in sys.stdin if text.startswith("{")]
    kinds = {"learn": learn, "rollout": rollout}
    if len(lines) != 1 or lines[0].get("bench") not in kinds or lines[0].get("peer") != "setrl":
        fail("standard input must hold one line of setrl bench learn or setrl bench rollout")
    line = lines[0]
    arguments.device = arguments.device or line["device"]
    if arguments.device == "cuda" and not torch.cuda.is_available():
        fail("torch finds no GPU that it can use")
    if arguments.device == "cpu":
        torch.set_num_threads(line["threads"])
    try:
        result = kinds[line["bench"]](line, arguments)
    except ImportError as error:
        fail(f"{sys.executable} cannot import all that is needed: {error}")
    except torch.OutOfMemoryError as error:
        fail(f"the GPU's memory does not suffice: {str(error).splitlines()[0]}")
    result["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if arguments.device == "cuda":
        result["device_peak_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
