#!/usr/bin/env python3
"""Draws eval.json files: reliability diagram and histogram of the confidence sums, as PNG and SVG.

  plot_eval.py eval.json                          one evaluation
  plot_eval.py before/eval.json after/eval.json   several, overlaid; --labels before after names them

Needs matplotlib. Writes reliability.{png,svg} and confidence_sums.{png,svg} into --out (default: beside the first file).
"""
import argparse
import json
import pathlib
import sys

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]  # distinct for colour-blind readers


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


def reliability(axes, documents, labels):
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfectly calibrated")
    for document, label, colour in zip(documents, labels, COLOURS):
        bins = [bin for bin in document["reliability"] if bin["count"] > 0]
        most = max((bin["count"] for bin in bins), default=1)
        confidence = [bin["mean_confidence"] for bin in bins]
        accuracy = [bin["accuracy"] for bin in bins]
        axes.plot(confidence, accuracy, color=colour, linewidth=1.5,
                  label=f"{label} (ECE {metric(document, 'ece', 3)}, AUROC {metric(document, 'auroc', 2)})")
        axes.scatter(confidence, accuracy, s=[12 + 140 * bin["count"] / most for bin in bins], color=colour, alpha=0.8)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean confidence of the bin (dot area: its share of the answers)", ylabel="share of answers that are correct")
    axes.set_aspect("equal")


def confidence_sums(axes, documents, labels):
    highest = max(max(document["confidence_sums"]) for document in documents)
    edges = [i * 0.1 - 0.05 for i in range(int(highest / 0.1 + 0.5) + 2)]
    for document, label, colour in zip(documents, labels, COLOURS):
        sums = document["confidence_sums"]
        expected = document["metrics"].get("confidence_sum", {}).get("value")
        bias = document["metrics"].get("confidence_sum_bias", {}).get("value")
        weights = [1 / len(sums)] * len(sums)
        axes.hist(sums, bins=edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.25)
        axes.hist(sums, bins=edges, weights=weights, histtype="step", color=colour, linewidth=1.5,
                  label=f"{label} (mean {metric(document, 'confidence_sum', 2)})")
        if expected is not None and bias is not None:
            axes.axvline(expected - bias, color=colour, linestyle=":", linewidth=1.5)
    axes.axvline(1, color="0.6", linestyle="--", linewidth=1)
    axes.set(xlabel="sum of the confidences of a set (dotted: mean number correct)", ylabel="share of the sets")
    axes.set_xlim(left=min(0, edges[0]))


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
    drawn = [(document, label) for document, label in zip(documents, labels) if document["confidence_sums"]]
    if not drawn:
        sys.exit("no confidences in these files (reward.kind = rlvr?): nothing to draw")
    documents, labels = [document for document, _ in drawn], [label for _, label in drawn]

    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    out = arguments.out or arguments.files[0].parent
    out.mkdir(parents=True, exist_ok=True)
    heading = f"{documents[0]['task']}, {documents[0]['split']}"
    for name, title, draw in (("reliability", "Reliability of the confidences", reliability),
                              ("confidence_sums", "Sums of confidences", confidence_sums)):
        figure, axes = plt.subplots(figsize=(5.6, 5.2) if draw is reliability else (6.4, 4.2), layout="constrained")
        draw(axes, documents, labels)
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
