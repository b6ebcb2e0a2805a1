#!/usr/bin/env python3
"""Draws eval.json files as PNG and SVG: golds found against answers and against tokens, reliability diagram, histograms
of the confidence sums and of the different answers of a problem.

  plot_eval.py eval.json                          one evaluation
  plot_eval.py before/eval.json after/eval.json   several, overlaid; --labels before after names them

  plot_eval.py multi/eval.json single/eval.json vote/eval.json --labels sets single "majority vote"

Needs matplotlib. Writes coverage_answers, coverage_tokens, unique_answers and, where there are confidences, reliability,
confidence_sums and confidence_sum_reliability into --out (default: beside the first file). Bands and whiskers are the 95 %
intervals of the file.
"""
import argparse
import json
import pathlib
import sys

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]  # distinct for colour-blind readers
MARKERS = ["o", "s", "^", "D", "v", "P"]


def load(path):
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: {error}")
    missing = [key for key in ("task", "split", "policy", "metrics", "reliability", "confidence_sums") if key not in document]
    if missing:
        sys.exit(f"{path}: not an eval.json, it lacks {', '.join(missing)}")
    return document


def metric(document, name, digits):
    value = document["metrics"].get(name, {}).get("value")
    return "-" if value is None else f"{value:.{digits}f}"


def coverage(axes, entries, x_key, x_label):
    for document, label, colour, marker in entries:
        curve = document["curve"]
        x = [point[x_key] for point in curve]
        value, low, high = ([point["coverage"][key] for point in curve] for key in ("value", "low", "high"))
        if len(curve) == 1:
            errors = [[value[0] - (low[0] if low[0] is not None else value[0])],
                      [(high[0] if high[0] is not None else value[0]) - value[0]]]
            axes.errorbar(x, value, yerr=errors, color=colour, marker=marker, markersize=6, capsize=3, label=label)
            continue
        if None not in low:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        marked = [i for i in range(len(x)) if i < 4 or i == len(x) - 1 or (i + 1) & i == 0]
        axes.plot(x, value, color=colour, linewidth=1.6, marker=marker, markersize=4.5, markevery=marked, label=label)
    axes.set(xlabel=x_label, ylabel="different golds found in a problem")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def coverage_answers(axes, entries):
    coverage(axes, entries, "answers", "answers given")


def coverage_tokens(axes, entries):
    coverage(axes, entries, "tokens", "tokens generated")


def reliability(axes, entries):
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfectly calibrated")
    for document, label, colour, _ in entries:
        bins = [bin for bin in document["reliability"] if bin["count"] > 0]
        total = sum(bin["count"] for bin in bins)
        confidence = [bin["mean_confidence"] for bin in bins]
        accuracy = [bin["accuracy"] for bin in bins]
        axes.plot(confidence, accuracy, color=colour, linewidth=1.3,
                  label=f"{label} (ECE {metric(document, 'ece', 3)}, AUROC {metric(document, 'auroc', 2)})")
        axes.scatter(confidence, accuracy, s=[14 + 220 * bin["count"] / total for bin in bins], color=colour, alpha=0.75, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean confidence of the bin (area of a dot: its share of the answers)",
             ylabel="share of answers that are correct")
    axes.set_aspect("equal")


def confidence_sum_reliability(axes, entries):
    highest = max(entry[0]["k"] for entry in entries)
    axes.plot([0, highest], [0, highest], color="0.6", linewidth=1, linestyle="--", label="perfectly calibrated")
    for document, label, colour, _ in entries:
        bins = [bin for bin in document["confidence_sum_reliability"] if bin["count"] > 0]
        total = sum(bin["count"] for bin in bins)
        x, y = [bin["mean_sum"] for bin in bins], [bin["mean_correct"] for bin in bins]
        axes.plot(x, y, color=colour, linewidth=1.3,
                  label=f"{label} (correlation {metric(document, 'confidence_sum_count_correlation', 2)})")
        axes.scatter(x, y, s=[14 + 220 * bin["count"] / total for bin in bins], color=colour, alpha=0.75, linewidth=0)
    axes.set(xlim=(0, highest), ylim=(0, highest), xlabel="mean sum of the confidences of a set (area of a dot: its share of the sets)",
             ylabel="mean number of correct answers of the set")
    axes.set_aspect("equal")


def confidence_sums(axes, entries):
    highest = max(max(entry[0]["confidence_sums"]) for entry in entries)
    edges = [i * 0.1 - 0.05 for i in range(int(highest / 0.1 + 0.5) + 2)]
    axes.axvline(1, color="0.6", linestyle="--", linewidth=1)
    for document, label, colour, _ in entries:
        sums = document["confidence_sums"]
        expected = document["metrics"].get("confidence_sum", {}).get("value")
        bias = document["metrics"].get("confidence_sum_bias", {}).get("value")
        weights = [1 / len(sums)] * len(sums)
        axes.hist(sums, bins=edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.2)
        axes.hist(sums, bins=edges, weights=weights, histtype="step", color=colour, linewidth=1.5,
                  label=f"{label} (mean {metric(document, 'confidence_sum', 2)})")
        if expected is not None and bias is not None:
            axes.axvline(expected - bias, color=colour, linestyle=":", linewidth=1.5)
    axes.set(xlabel="sum of the confidences of a set (dotted: mean number correct)", ylabel="share of the sets")
    axes.set_xlim(left=min(0, edges[0]))


def unique_answers(axes, entries):
    highest = max(max(entry[0]["unique_answers"]) for entry in entries)
    width = 0.8 / len(entries)
    for place, (document, label, colour, _) in enumerate(entries):
        counts = document["unique_answers"]
        shares = [counts.count(value) / len(counts) for value in range(highest + 1)]
        x = [value + (place - (len(entries) - 1) / 2) * width for value in range(highest + 1)]
        axes.bar(x, shares, width=width, color=colour, alpha=0.85,
                 label=f"{label} (mean {sum(counts) / len(counts):.2f} in {document['curve'][-1]['answers']} answers)")
    axes.set(xlabel="different answers of a problem", ylabel="share of the problems")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlim(-0.6, highest + 0.6)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="eval.json files, at most %d" % len(COLOURS))
    parser.add_argument("--labels", nargs="+", help="a name for each file (default: its policy)")
    parser.add_argument("--out", type=pathlib.Path, help="folder for the figures")
    arguments = parser.parse_args()
    if len(arguments.files) > len(COLOURS):
        parser.error(f"at most {len(COLOURS)} files")
    documents = [load(path) for path in arguments.files]
    labels = arguments.labels or [document["policy"] for document in documents]
    if len(labels) != len(documents):
        parser.error(f"{len(labels)} labels for {len(documents)} files")
    # A file keeps its colour in every figure, also where another has nothing to show.
    entries = list(zip(documents, labels, COLOURS, MARKERS))
    holding = lambda key: [entry for entry in entries if entry[0].get(key)]
    if not holding("curve") and not holding("reliability"):
        sys.exit("nothing to draw in these files: neither a curve nor confidences (reward.kind = rlvr?)")

    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    out = arguments.out or arguments.files[0].parent
    out.mkdir(parents=True, exist_ok=True)
    heading = f"{documents[0]['task']}, {documents[0]['split']}"
    figures = [("coverage_answers", "Golds found at equal numbers of answers", coverage_answers, "curve"),
               ("coverage_tokens", "Golds found at equal numbers of tokens", coverage_tokens, "curve"),
               ("unique_answers", "Different answers", unique_answers, "curve"),
               ("reliability", "Reliability of the confidences", reliability, "reliability"),
               ("confidence_sum_reliability", "Sum of confidences against correct answers", confidence_sum_reliability,
                "confidence_sum_reliability"),
               ("confidence_sums", "Sums of confidences", confidence_sums, "confidence_sums")]
    for name, title, draw, key in figures:
        shown = holding(key)
        if not shown:
            continue
        square = "reliability" in name
        figure, axes = plt.subplots(figsize=(5.8, 5.6) if square else (6.4, 4.2), layout="constrained")
        draw(axes, shown)
        axes.set_title(f"{title}: {heading}", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="best")
        for suffix in ("png", "svg"):
            path = out / f"{name}.{suffix}"
            figure.savefig(path, dpi=160)
            print(path)
        plt.close(figure)


if __name__ == "__main__":
    main()
