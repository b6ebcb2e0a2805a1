#!/usr/bin/env python3
"""Shows JSON lines of `setrl bench rollout|learn|sync` and of tools/gpu_peers.py as a table, each as it comes.

    setrl bench learn ... | tools/bench_table.py

A head is printed where the kind of bench changes; other lines are shown as they are. On GPUs the goals stand beside our
own values: of the memory's bandwidth when decoding, of a matrix product's speed when learning.
"""
import json
import os
import sys

GOALS = {"rollout": 0.60, "learn": 0.45}


def goal(line):
    """What `fraction_of_limit` should be and whether it is; of CPUs and peers there is none."""
    wanted = GOALS.get(line["bench"])
    if wanted is None or line["device"] != "cuda" or line["peer"] != "setrl":
        return None
    return f"{wanted:.2f} {'met' if line['fraction_of_limit'] >= wanted else 'missed'}"


def scaled(key, unit):
    return lambda line: line[key] / unit if key in line else None


def value(key):
    return lambda line: line.get(key)


def model(line):
    return os.path.basename(line["model"].rstrip("/"))


def offload(line):
    return "yes" if line["offload_optimizer"] else "no"


# Head, width, format, and what it shows; nothing is a dash.
COLUMNS = {
    "rollout": [("program", 13, "", value("peer")), ("model", 16, "", model), ("dtype", 9, "", value("dtype")),
                ("batch", 6, "d", value("batch")), ("group", 6, "d", value("group")), ("prompt", 7, "d", value("prompt")),
                ("new", 6, "d", value("new")), ("tokens/s", 10, ".1f", value("tokens_per_s")),
                ("decode tok/s", 13, ".1f", value("decode_tokens_per_s")), ("memory GB/s", 12, ".0f", value("memory_gb_per_s")),
                ("of limit", 9, ".3f", value("fraction_of_limit")), ("goal", 11, "", goal)],
    "learn": [("program", 13, "", value("peer")), ("model", 16, "", model), ("ranks", 6, "d", value("ranks")),
              ("prompts", 8, "d", value("prompts")), ("group", 6, "d", value("group")), ("prompt", 7, "d", value("prompt_tokens")),
              ("new", 6, "d", value("new")), ("steps", 6, "d", value("steps")), ("recompute", 10, "", value("activation_checkpointing")),
              ("offload", 8, "", offload), ("seconds", 9, ".3f", value("learn_s")), ("tokens/s", 10, ".1f", value("tokens_per_s")),
              ("MFU", 6, ".3f", value("fraction_of_limit")), ("goal", 12, "", goal), ("peak GB", 8, ".2f", scaled("device_peak_bytes", 1e9)),
              ("growth GB", 9, ".3f", scaled("device_growth_bytes", 1e9))],
    "sync": [("model", 16, "", model), ("dtype", 9, "", value("dtype")), ("ranks", 6, "d", value("ranks")),
             ("learners", 9, "d", value("learners")), ("replicas", 9, "d", value("replicas")),
             ("tensor par.", 12, "d", value("tensor_parallel")), ("seconds", 9, ".4f", value("seconds")), ("GB/s", 8, ".1f", value("gb_per_s")),
             ("link GB/s", 10, ".1f", value("link_gb_per_s")), ("of limit", 8, ".2f", value("fraction_of_limit"))],
}


def row(line):
    cells = []
    for _, width, shape, show in COLUMNS[line["bench"]]:
        shown = show(line)
        cells.append(f"{'-' if shown is None else format(shown, shape):<{width}}")
    return " ".join(cells).rstrip()


def main():
    bench = None
    for text in sys.stdin:
        try:
            line = json.loads(text)
            known = line["bench"] in COLUMNS
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            print(text.rstrip("\n"), flush=True)
            continue
        if line["bench"] != bench:
            bench = line["bench"]
            print(" ".join(f"{head:<{width}}" for head, width, _, _ in COLUMNS[bench]).rstrip())
        print(row(line), flush=True)


if __name__ == "__main__":
    main()
