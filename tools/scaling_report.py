#!/usr/bin/env python3
"""Table and plot of a scaling study: speed-up, efficiency, time split by phase, and the forecast's line.

    tools/scaling_report.py DIR [--machine configs/machines/FILE.cfg] [--to 4096] [--out DIR] [--setrl build/setrl]

DIR holds ranks-N/ run directories, as slurm/scaling_study.sh makes them. Writes scaling.md and scaling.png.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PHASES = ("rollout", "learn", "sync", "checkpoint", "other")


def read_run(folder):
    """Medians over all steps but the first, which warms up (the only one counts where there is no other)."""
    path = os.path.join(folder, "metrics.jsonl")
    if not os.path.exists(path):
        return None
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    if not lines:
        return None
    used = lines[1:] or lines
    def median(key):
        return statistics.median(line[key] for line in used)
    run = {"ranks": int(folder.rsplit("-", 1)[1]), "folder": folder, "steps": len(used), "step": median("step_s")}
    for phase in PHASES[:-1]:
        run[phase] = median(phase + "_s")
    run["other"] = max(0.0, run["step"] - sum(run[phase] for phase in PHASES[:-1]))
    run["memory"] = max(line["peak_rss_bytes"] for line in lines)
    run["new_tokens"] = statistics.median(line["tokens_per_completion"] for line in used)
    return run


def config_value(folder, section, key):
    """One value of a run directory's config.cfg."""
    current = None
    with open(os.path.join(folder, "config.cfg")) as file:
        for line in file:
            line = line.strip()
            if line.startswith("["):
                current = line.strip("[]")
            match = re.match(r"(\w+) = (.*)", line)
            if match and current == section and match[1] == key:
                return match[2]
    raise SystemExit(f"error: {folder}/config.cfg has no {section}.{key}")


def mean_prompt(folder):
    """Tokens of a prompt, where every group was trained on: speed x seconds of learning = completions and a prompt a group."""
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        line = json.loads(file.readline())
    groups = int(config_value(folder, "task", "prompts_per_step"))
    total = line["learn_tokens_per_s"] * line["learn_s"]
    return max(1.0, (total - line["trained_tokens"]) / groups)


def forecast(setrl, machine, run, ranks, prompts, prompt_tokens):
    """What `setrl plan` says about `ranks` ranks with this run's configuration."""
    command = [setrl, "plan", "--config", os.path.join(run["folder"], "config.cfg"), f"--plan.machine={machine}", "--plan.json",
               f"--plan.ranks={ranks}", f"--task.prompts_per_step={prompts}", f"--plan.new_tokens={run['new_tokens']}",
               f"--plan.prompt_tokens={prompt_tokens}", "--topology.learner=0", "--topology.rollout=0", "--topology.verifier=0"]
    # Measured ranks share one node; larger jobs take one rank a device, which is the plan's default.
    if ranks <= run["largest_measured"]:
        command.append(f"--plan.ranks_per_node={ranks}")
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)}\n{result.stderr}")
    return json.loads(result.stdout)


def table(runs, kind, forecasts):
    """Markdown lines."""
    head = ["ranks", "step s", "speed-up", "efficiency"] + [phase + " s" for phase in PHASES] + ["memory GB"]
    if forecasts:
        head += ["forecast step s", "error", "forecast memory GB", "error"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    base = runs[0]
    for run in runs:
        factor = run["ranks"] / base["ranks"]
        work = factor if kind == "weak" else 1
        speed_up = base["step"] / run["step"] * work
        row = [str(run["ranks"]), f"{run['step']:.2f}", f"{speed_up:.2f}", f"{100 * speed_up / factor:.0f} %"]
        row += [f"{run[phase]:.2f}" for phase in PHASES] + [f"{run['memory'] / 1e9:.2f}"]
        if forecasts:
            f = forecasts[run["ranks"]]
            step, memory = f["seconds"]["step"], f["memory_bytes"]["largest_rank"]
            row += [f"{step:.2f}", f"{100 * (step / run['step'] - 1):+.0f} %", f"{memory / 1e9:.2f}",
                    f"{100 * (memory / run['memory'] - 1):+.0f} %"]
        lines.append("| " + " | ".join(row) + " |")
    return lines


def plot(path, runs, kind, forecasts):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import matplotlib.ticker
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), constrained_layout=True)
    ranks = [run["ranks"] for run in runs]
    base = runs[0]

    def speed(step, count):
        return base["step"] / step * (count / base["ranks"] if kind == "weak" else 1)

    left.plot(ranks, [speed(run["step"], run["ranks"]) for run in runs], "o-", color="#1f6fb4", label="measured")
    line = sorted(forecasts)
    if line:
        left.plot(line, [speed(forecasts[n]["seconds"]["step"], n) for n in line], "--", color="#d9822b", label="forecast")
    left.plot(line or ranks, [n / base["ranks"] for n in (line or ranks)], ":", color="#999999", label="ideal")
    left.set(xscale="log", yscale="log", xlabel="ranks", ylabel="speed-up", title=f"{kind} scaling")
    left.set_xscale("log", base=2)
    left.legend(frameon=False)

    middle.plot(ranks, [100 * speed(run["step"], run["ranks"]) * base["ranks"] / run["ranks"] for run in runs], "o-", color="#1f6fb4",
                label="measured")
    if line:
        middle.plot(line, [100 * speed(forecasts[n]["seconds"]["step"], n) * base["ranks"] / n for n in line], "--", color="#d9822b",
                    label="forecast")
    middle.set_xscale("log", base=2)
    middle.set(xlabel="ranks", ylabel="efficiency, %", ylim=(0, None), title="efficiency")
    middle.legend(frameon=False)

    bottom = [0.0] * len(runs)
    colours = ("#1f6fb4", "#d9822b", "#4c9f70", "#8c6bb1", "#bbbbbb")
    places = range(len(runs))
    for phase, colour in zip(PHASES, colours):
        heights = [run[phase] for run in runs]
        right.bar(places, heights, bottom=bottom, color=colour, label=phase, width=0.7)
        bottom = [a + b for a, b in zip(bottom, heights)]
    right.set_xticks(list(places), [str(n) for n in ranks])
    right.set(xlabel="ranks", ylabel="seconds of a step", title="where the time goes")
    right.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for axis in (left, middle):
        axis.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    left.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir")
    parser.add_argument("--machine", help="machine description: adds the forecast")
    parser.add_argument("--to", type=int, default=4096, help="ranks up to which the forecast's line goes")
    parser.add_argument("--out", help="folder for scaling.md and scaling.png (default DIR)")
    parser.add_argument("--setrl", default=os.path.join(os.environ.get("SETRL_BUILD", os.path.join(ROOT, "build")), "setrl"))
    options = parser.parse_args()
    folders = [os.path.join(options.dir, name) for name in os.listdir(options.dir) if re.fullmatch(r"ranks-\d+", name)]
    runs = sorted(filter(None, map(read_run, folders)), key=lambda run: run["ranks"])
    if not runs:
        sys.exit(f"error: {options.dir} holds no ranks-N/metrics.jsonl")
    with open(os.path.join(options.dir, "kind.txt")) as file:
        kind = file.read().strip()
    forecasts = {}
    if options.machine:
        machine = os.path.abspath(options.machine)
        tokens = mean_prompt(runs[0]["folder"])
        problems = int(config_value(runs[0]["folder"], "task", "prompts_per_step"))
        count = runs[-1]["ranks"]
        for run in runs:
            run["largest_measured"] = runs[-1]["ranks"]
        counts = [run["ranks"] for run in runs]
        while count * 2 <= options.to:
            count *= 2
            counts.append(count)
        for count in counts:
            prompts = problems * count // runs[0]["ranks"] if kind == "weak" else problems
            nearest = min(runs, key=lambda run: abs(run["ranks"] - count))
            forecasts[count] = forecast(options.setrl, machine, nearest, count, prompts, tokens)
    out = options.out or options.dir
    os.makedirs(out, exist_ok=True)
    lines = table(runs, kind, forecasts)
    with open(os.path.join(out, "scaling.md"), "w") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))
    try:
        plot(os.path.join(out, "scaling.png"), runs, kind, forecasts)
    except ImportError:
        print("no plot: matplotlib is missing (.venv/bin/python has it)", file=sys.stderr)


if __name__ == "__main__":
    main()
